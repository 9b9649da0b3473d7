"""How a job's figures changed over its last published nights."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import date, timedelta
from functools import partial

from infra.storage import Storage
from workers.partitions.manifest import Manifest, read_published
from workers.quality.gates import FIGURES

NIGHTS = 30
READS_AT_ONCE = 16


def last_nights(storage: Storage, manifest: Manifest) -> list[Manifest]:
    """The manifests of the NIGHTS nights up to this one, oldest first."""
    last = date.fromisoformat(manifest.date)
    days = [(last - timedelta(days=number)).isoformat() for number in range(NIGHTS - 1, 0, -1)]
    with ThreadPoolExecutor(READS_AT_ONCE) as threads:
        found = list(threads.map(partial(read_published, storage, manifest.job), days))
    return [*(published.manifest for published in found if published), manifest]


def trend_figures(nights: Sequence[Manifest]) -> dict[str, list[float]]:
    """The values of each figure, night by night, by its name for people; NaN for a night without
    the figure."""
    figures = {
        "rows published": [float(night.counts.accepted) for night in nights],
        "share set aside": [share_set_aside([night]) for night in nights],
        "rows per second": [night.rows_per_second for night in nights],
        "actor hours": [night.actor_hours for night in nights],
    }
    for name in nights[-1].quality if nights else ():
        if name in FIGURES:
            figures[FIGURES[name][0]] = [night.quality.get(name, float("nan")) for night in nights]
    return figures


def draw_trend(nights: Sequence[Manifest]) -> str:
    """SVG with a panel for each figure; empty if there are fewer than two nights."""
    if len(nights) < 2:
        return ""
    from workers.report.charts import Trend, draw_trends

    days = [date.fromisoformat(night.date) for night in nights]
    return draw_trends(
        [Trend(label, days, values) for label, values in trend_figures(nights).items()]
    )


def share_set_aside(manifests: Sequence[Manifest]) -> float:
    """The share of all input rows that were rejected or quarantined; NaN without input rows."""
    num_rows = sum(manifest.counts.input_rows for manifest in manifests)
    num_set_aside = sum(manifest.counts.set_aside for manifest in manifests)
    return num_set_aside / num_rows if num_rows else float("nan")
