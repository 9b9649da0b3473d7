from collections.abc import Iterator
from pathlib import Path

import pytest

from flows.nightly import run_job
from infra.errors import StorageError
from infra.storage import ObjectInfo
from infra.storage.files import FileStorage
from workers.jobs import JOBS

DAY = "2026-11-22"


class AwayStorage(FileStorage):
    """A store that does not answer."""

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        raise StorageError(f"no answer for {prefix}")


@pytest.mark.parametrize("name", JOBS)
def test_a_job_without_rows_is_skipped(tmp_path: Path, name: str) -> None:
    outcome = run_job(FileStorage(tmp_path.as_uri()), JOBS[name], DAY)
    assert (outcome.job, outcome.date, outcome.outcome) == (name, DAY, "skipped")
    assert f"nothing is loaded into {' and '.join(JOBS[name].tables)}" in outcome.message


def test_a_job_whose_tables_cannot_be_read_fails_and_stops_no_other(
    tmp_path: Path,
) -> None:
    outcomes = [run_job(AwayStorage(tmp_path.as_uri()), job, DAY) for job in JOBS.values()]
    assert {outcome.outcome for outcome in outcomes} == {"failed"}
    assert all("no answer for inputs/" in outcome.message for outcome in outcomes)
