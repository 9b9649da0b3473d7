"""Charts as SVG, legible on light and dark pages and to colour-blind people."""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from math import ceil
from pathlib import Path
from typing import Any

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.dates import DateFormatter
from matplotlib.figure import Figure
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

COLOURS = ("#0072B2", "#D55E00")
"""From the palette of Okabe and Ito (2008)."""
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
"""The tags that the training loop writes, and their names for people."""
DRAW_STYLES = {"loss/train": "default", "loss/validation": "steps-post"}
"""A validation's figure holds until the next one."""
PANELS_PER_ROW = 3
MAX_DAY_LABELS = 4


@dataclass(frozen=True, slots=True)
class Curve:
    steps: list[int]
    values: list[float]


@dataclass(frozen=True, slots=True)
class Trend:
    label: str
    days: list[date]
    values: list[float]
    """NaN for a night without the figure."""


def read_curves(folder: Path) -> dict[str, dict[str, Curve]]:
    """The curves of `TAGS`, by tag, of each folder of TensorBoard event files below `folder`, by
    the folder's name."""
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
    """One picture with a panel for each curve: training loss and validation loss have different
    scales."""
    with rc_context(STYLE):
        figure = Figure(figsize=(7.2, 2.2), layout="constrained")
        panels = figure.subplots(1, max(1, len(curves)), squeeze=False)[0]
        for panel, colour, (tag, curve) in zip(panels, COLOURS, curves.items(), strict=False):
            style = DRAW_STYLES[tag]
            panel.plot(curve.steps, curve.values, color=colour, linewidth=1.2, drawstyle=style)
            panel.set_title(f"{title}: {TAGS[tag]}", fontsize=9)
            panel.set_xlabel("step")
        return _svg(figure)


def draw_trends(trends: Sequence[Trend]) -> str:
    """One picture with a panel for each figure."""
    num_rows = ceil(len(trends) / PANELS_PER_ROW)
    with rc_context(STYLE):
        figure = Figure(figsize=(9.6, 1.6 * num_rows), layout="constrained")
        panels = list(figure.subplots(num_rows, PANELS_PER_ROW, squeeze=False).flat)
        for panel, trend in zip(panels, trends, strict=False):
            _draw_trend(panel, trend)
        for unused in panels[len(trends) :]:
            unused.set_axis_off()
        return _svg(figure)


def _draw_trend(panel: Axes, trend: Trend) -> None:
    days: list[Any] = trend.days
    panel.plot(days, trend.values, color=COLOURS[0], linewidth=1.2, marker="o", markersize=3)
    panel.set_title(trend.label, fontsize=9)
    panel.margins(y=0.2)
    # matplotlib's own ticks fall on hours if there are few days, which labels a day twice
    panel.set_xticks(label_days(trend.days))
    panel.xaxis.set_major_formatter(DateFormatter("%d %b"))


def label_days(days: Sequence[date]) -> list[Any]:
    """At most MAX_DAY_LABELS days at equal distances, from the first of `days` on."""
    num_days = (max(days) - min(days)).days
    step = max(1, ceil(num_days / (MAX_DAY_LABELS - 1)))
    return [min(days) + timedelta(days=number) for number in range(0, num_days + 1, step)]


def _svg(figure: Figure) -> str:
    sink = io.StringIO()
    figure.savefig(sink, format="svg", transparent=True, metadata={"Date": None})
    _, start, rest = sink.getvalue().partition("<svg")
    return start + rest
