"""How a job's figures moved over its last published nights."""

from concurrent.futures import ThreadPoolExecutor
from datetime import date, timedelta
from functools import partial
from typing import Any

from infra.storage import Storage
from workers.manifest import read_published
from workers.quality import FIGURES
from workers.report.charts import Trend, draw_trends

NIGHTS = 30
READS_AT_ONCE = 16


def last_nights(storage: Storage, manifest: dict[str, Any]) -> list[dict[str, Any]]:
    """The manifests published for the nights up to this one, the oldest first."""
    last = date.fromisoformat(manifest["date"])
    days = [(last - timedelta(days=number)).isoformat() for number in range(NIGHTS - 1, 0, -1)]
    with ThreadPoolExecutor(READS_AT_ONCE) as threads:
        found = list(threads.map(partial(read_published, storage, manifest["job"]), days))
    return [*(published.manifest for published in found if published), manifest]


def draw_trend(storage: Storage, manifest: dict[str, Any]) -> str:
    """A panel for each figure of quality that people have a name for; empty before the second night."""
    nights = last_nights(storage, manifest)
    if len(nights) < 2:
        return ""
    days = [date.fromisoformat(night["date"]) for night in nights]
    trends = [Trend("rows published", days, [float(night["counts"]["accepted"]) for night in nights])]
    for name in manifest["quality"]:
        if name in FIGURES:
            values = [night["quality"].get(name, float("nan")) for night in nights]
            trends.append(Trend(FIGURES[name][0], days, values))
    return draw_trends(trends)
