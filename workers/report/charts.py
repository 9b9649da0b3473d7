"""Charts as SVG that reads on light and dark pages, in colours that colour-blind people can tell
apart."""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from matplotlib import rc_context
from matplotlib.dates import AutoDateLocator, DateFormatter
from matplotlib.figure import Figure
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

COLOURS = ("#0072B2", "#D55E00")
"""Of Okabe and Ito's palette (2008)."""
INK = "#808080"
STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "nightshift",
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    **dict.fromkeys(
        ("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"), INK
    ),
}
TAGS = {"loss/train": "training loss", "loss/validation": "on held-out data"}
"""What the training loop writes, and what it is called."""

DRAWN = {"loss/train": "default", "loss/validation": "steps-post"}
"""A validation's figure is repeated until the next one."""

TRENDS_ABREAST = 3


@dataclass(frozen=True, slots=True)
class Curve:
    steps: list[int]
    values: list[float]


@dataclass(frozen=True, slots=True)
class Trend:
    label: str
    days: list[date]
    values: list[float]
    """NaN where a night has no such figure."""


def read_curves(folder: Path) -> dict[str, dict[str, Curve]]:
    """For each folder of TensorBoard event files below `folder`, by its name, the curves of `TAGS`
    that it holds."""
    found = {}
    for place in sorted({path.parent for path in folder.rglob("events.out.tfevents.*")}):
        events = EventAccumulator(str(place), size_guidance={"scalars": 500, "images": 1})
        events.Reload()
        scalars = {tag: events.Scalars(tag) for tag in TAGS if tag in events.Tags()["scalars"]}
        name = place.relative_to(folder).as_posix()
        found["training" if name == "." else name] = {
            tag: Curve([one.step for one in values], [one.value for one in values])
            for tag, values in scalars.items()
        }
    return found


def draw_curves(title: str, curves: Mapping[str, Curve]) -> str:
    """One picture: a panel for each curve, since loss and score have scales of their own."""
    with rc_context(STYLE):
        figure = Figure(figsize=(7.2, 2.2), layout="constrained")
        panels = figure.subplots(1, max(1, len(curves)), squeeze=False)[0]
        for panel, colour, (tag, curve) in zip(panels, COLOURS, curves.items(), strict=False):
            panel.plot(curve.steps, curve.values, color=colour, linewidth=1.2, drawstyle=DRAWN[tag])
            panel.set_title(f"{title}: {TAGS[tag]}", fontsize=9)
            panel.set_xlabel("step")
        return _svg(figure)


def draw_trends(trends: Sequence[Trend]) -> str:
    """One picture with a panel for each figure."""
    num_rows = -(-len(trends) // TRENDS_ABREAST)
    with rc_context(STYLE):
        figure = Figure(figsize=(9.6, 1.6 * num_rows), layout="constrained")
        panels = figure.subplots(num_rows, TRENDS_ABREAST, squeeze=False).flat
        for panel, trend in zip(panels, trends, strict=False):
            panel.plot(
                trend.days, trend.values, color=COLOURS[0], linewidth=1.2, marker="o", markersize=3
            )
            panel.set_title(trend.label, fontsize=9)
            panel.margins(y=0.2)
            locator = AutoDateLocator(minticks=2, maxticks=4)
            panel.xaxis.set_major_locator(locator)
            panel.xaxis.set_major_formatter(DateFormatter("%d %b"))
        for panel in list(figure.axes)[len(trends) :]:
            panel.set_axis_off()
        return _svg(figure)


def _svg(figure: Figure) -> str:
    sink = io.StringIO()
    figure.savefig(sink, format="svg", transparent=True, metadata={"Date": None})
    _, start, rest = sink.getvalue().partition("<svg")
    return start + rest
