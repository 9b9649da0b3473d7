"""Both history engines on the same sample purchases; Ray Data on a real Ray cluster."""

from collections.abc import Iterator
from datetime import date
from functools import partial
from pathlib import Path

import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from infra.settings import Settings
from infra.storage import open_storage
from tests.support.ray_cluster import Cluster, running_cluster
from workers.inputs.histories import build_histories
from workers.inputs.snapshot import take_snapshot
from workers.inputs.store import put_table
from workers.samples import write_samples

DAY = date(2026, 10, 15)
pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with running_cluster(tmp_path_factory.mktemp("cluster")) as cluster:
        yield cluster


def test_ray_data_and_duckdb_make_the_same_rows(cluster: Cluster, tmp_path: Path) -> None:
    settings = Settings(storage_uri=(tmp_path / "store").as_uri(), ray_address=cluster.address)
    storage = open_storage(settings)
    counts = {
        "num_products": 60,
        "num_examples": 0,
        "num_requests": 0,
        "num_images": 0,
        "num_interactions": 3000,
    }
    tables = [write_samples(tmp_path / str(seed), seed=seed, **counts) for seed in (0, 1)]
    files = [paths["interactions"] for paths in tables]
    again = tmp_path / "again.parquet"
    pq.write_table(pq.read_table(files[0]).slice(100, 1000), again)
    for number, file in enumerate([*files, again]):
        put_table(storage, "interactions", [file.rename(file.with_name(f"part-{number}.parquet"))])
    snapshot = take_snapshot(storage, "interactions", DAY)
    one, other = (
        build_histories(partial(open_storage, settings), snapshot, max_items=5, engine=engine)
        for engine in ("duckdb", "ray")
    )
    assert one.num_future == other.num_future > 0
    assert one.total("num_repeated") > 500
    assert pc.max(pc.list_value_length(one.table["items"])).as_py() == 5
    assert one.table.combine_chunks().equals(other.table.combine_chunks())
