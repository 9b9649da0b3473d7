from pathlib import Path

import pytest

from flows.backfill import parse_range, select_dates
from infra.errors import InputError
from infra.settings import Settings
from infra.storage import open_storage
from tests.unit.workers.test_plan import plan_of
from tests.unit.workers.test_publish import write_all
from workers.publish import publish


def test_a_range_has_both_its_ends() -> None:
    assert parse_range("2026-02-27", "2026-03-01") == ["2026-02-27", "2026-02-28", "2026-03-01"]


@pytest.mark.parametrize(
    ("start", "end", "expected"),
    [
        ("2026-11-02", "2026-11-01", "ends .* before it starts"),
        ("", "2026-11-01", "needs a first and a last date"),
        ("2006-11-01", "2026-11-01", "longer than ten years"),
        ("2026-11-31", "2026-12-01", "'2026-11-31' is not a date"),
    ],
)
def test_ranges_without_sense_are_refused(start: str, end: str, expected: str) -> None:
    with pytest.raises(InputError, match=expected):
        parse_range(start, end)


def test_modes_select_by_what_is_in_storage(tmp_path: Path) -> None:
    storage = open_storage(Settings(storage_uri=tmp_path.as_uri()))
    published, begun = plan_of((40,), rows_per_shard=20), plan_of((40,), rows_per_shard=20, seed=1)
    publish(storage, published, *write_all(storage, published))
    begun.store(storage)
    days = ["2026-11-21", "2026-11-22", "2026-11-23"]
    chosen = {mode: select_dates(storage, published.job, days, mode) for mode in ("missing", "failed", "stale", "all")}  # type: ignore[arg-type]
    assert chosen == {
        "missing": ["2026-11-21", "2026-11-23"],
        "failed": ["2026-11-22"],
        "stale": ["2026-11-22"],
        "all": days,
    }
