import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from infra.errors import InputError, ObjectNotFound
from infra.settings import Settings
from infra.storage import Storage, open_storage
from tests.unit.workers.partitions.test_publish import a_plan, published_parts, read, run
from workers.partitions.outputs import export_partition
from workers.partitions.states import list_partitions


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return open_storage(Settings(storage_uri=f"file://{tmp_path}/store"))


class _PublishesMeanwhile:
    """The real store, where another run publishes a newer plan right after the first call of the
    method `when`."""

    def __init__(self, storage: Storage, when: str) -> None:
        self._storage, self._when = storage, when

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._storage, name)
        if name != self._when:
            return method

        def call(*words: Any) -> Any:
            answer = method(*words)
            found = list(answer) if name == "list" else answer
            if self._when:
                self._when = ""
                run(self._storage, a_plan(seed=1), "newer")
            return found

        return call


def test_an_export_is_complete_or_does_not_exist(storage: Storage, tmp_path: Path) -> None:
    plan = a_plan()
    with pytest.raises(InputError, match="has nothing published"):
        export_partition(storage, plan.job, plan.date, tmp_path / "rows")
    run(storage, plan)
    storage.delete([read(storage, plan).manifest.parts[1].key])
    with pytest.raises(ObjectNotFound):
        export_partition(storage, plan.job, plan.date, tmp_path / "rows")
    assert not any((tmp_path / "rows" / plan.job).iterdir())


@pytest.mark.parametrize("when", ["get_with_etag", "get"])
def test_an_export_during_a_publish_holds_the_parts_of_one_manifest(
    storage: Storage, tmp_path: Path, when: str
) -> None:
    """The manifest that was read first is superseded at once, or when the first part is fetched."""
    plan = a_plan()
    run(storage, plan, "older")
    folder = export_partition(_PublishesMeanwhile(storage, when), plan.job, plan.date, tmp_path)  # type: ignore[arg-type]
    manifest = json.loads((folder / "_SUCCESS").read_text())
    assert manifest["run"] == "newer"
    names = sorted(part["key"].rpartition("/")[2] for part in manifest["parts"])
    assert (
        sorted(path.name for path in folder.glob("*.parquet"))
        == names
        == sorted(published_parts(storage))
    )
    assert pq.read_table(folder).num_rows == 40
    with pytest.raises(InputError, match="is not empty"):
        export_partition(storage, plan.job, plan.date, tmp_path)


def test_a_partition_published_while_states_are_read_is_not_called_damaged(
    storage: Storage,
) -> None:
    plan = a_plan()
    run(storage, plan, "older")
    state, *_ = list_partitions(_PublishesMeanwhile(storage, "list"), plan.job)  # type: ignore[arg-type]
    assert (state.state, state.shards_done) == ("published", 2)
    assert state.manifest is not None
    assert state.manifest.run == "newer"
    storage.delete([state.manifest.parts[0].key])
    state, *_ = list_partitions(storage, plan.job)
    assert (state.state, state.shards_done) == ("damaged", 1)
