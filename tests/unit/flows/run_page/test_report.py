"""The run must succeed even if the work after publishing fails."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from prefect.logging import disable_run_logger

from flows.partition.settle import remove_leftovers_or_warn
from flows.run_page.report import record_published, report_partition, report_published
from infra.errors import StorageError
from infra.storage import ObjectInfo, Storage
from infra.storage.files import FileStorage
from tests.unit.workers.partitions.test_publish import a_plan, read, run
from workers.partitions.states import record_outcome


class AwayStorage(FileStorage):
    """A store that went away."""

    def get_with_etag(self, key: str) -> tuple[bytes, str]:
        raise StorageError("no answer")

    def head(self, key: str) -> ObjectInfo | None:
        raise StorageError("no answer")


@pytest.fixture(autouse=True)
def _without_a_run() -> Iterator[None]:
    with disable_run_logger():
        yield


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return FileStorage(tmp_path.as_uri())


def etags(storage: Storage) -> dict[str, str]:
    return {item.key: item.etag for item in storage.list("")}


def test_a_store_that_fails_after_publishing_does_not_fail_the_run(storage: Storage) -> None:
    run(storage, a_plan())
    published, away = read(storage, a_plan()), AwayStorage(storage.uri)
    remove_leftovers_or_warn(away, a_plan())
    report_published(away, a_plan(), published.manifest)
    assert read(storage, a_plan()) == published


def test_a_report_of_missing_rows_does_not_fail_the_run(storage: Storage) -> None:
    run(storage, a_plan())
    published = read(storage, a_plan())
    storage.delete(published.manifest.part_keys)
    report_partition(storage, published.manifest)
    assert list(storage.list("reports/")) == []


@pytest.mark.parametrize("before", ["", "failed"])
def test_that_a_plan_was_published_is_recorded_once(storage: Storage, before: str) -> None:
    run(storage, a_plan())
    if before == "failed":
        record_outcome(storage, a_plan(), "failed", ["shard 3 failed"])
    unrecorded = etags(storage)
    record_published(storage, a_plan())
    recorded = etags(storage)
    assert recorded != unrecorded
    record_published(storage, a_plan())
    assert etags(storage) == recorded
