"""Whole nights on a folder and on rclone's S3 server, which ignores conditional writes, with the stack's own Ray."""

import os
from collections.abc import Iterator
from pathlib import Path

import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

from tests.integration.conftest import running_rclone
from tests.integration.night import JOB, NUM_PRODUCTS, S3_KEYS, SLOWLY, Night, wait_until
from workers.leftovers import clean_up

pytestmark = pytest.mark.timeout(900)
DAY = "2026-09-02"


@pytest.fixture(params=["file", "rclone"], scope="module")
def other_night(
    request: pytest.FixtureRequest, night: Night, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Night]:
    folder = tmp_path_factory.mktemp(request.param)
    if request.param == "file":
        yield night.on_store((folder / "store").as_uri())
    else:
        with running_rclone(folder, *(night.variables[name] for name in S3_KEYS)) as server:
            yield night.on_store(f"s3://{server.bucket}/night", server.endpoint, checksums="when_required")


def published_ids(night: Night) -> list[str]:
    """The ids of the date's rows as a plain reader of the folder sees them."""
    filesystem, root = night.storage.filesystem()
    rows = ds.dataset(f"{root}/outputs/{JOB}/dt={DAY}", filesystem=filesystem).to_table()
    return sorted(rows["product_id"].to_pylist())


def test_a_night_is_published_once_survives_a_kill_and_is_superseded(other_night: Night, tmp_path: Path) -> None:
    everything = sorted(f"p{number}" for number in range(NUM_PRODUCTS))
    output = other_night.run("run", JOB, "--date", DAY, *SLOWLY)
    assert "rows published" in output
    assert ("ignores conditional writes" in output) == other_night.storage.uri.startswith("s3://")
    undisturbed = other_night.manifest(DAY)
    assert published_ids(other_night) == everything
    assert "nothing changed since" in other_night.run("run", JOB, "--date", DAY, *SLOWLY)
    assert other_night.manifest(DAY) == undisturbed

    other_night.forget(DAY)
    victim = other_night.start("run", JOB, "--date", DAY, *SLOWLY)
    wait_until(lambda: other_night.num_parts(DAY) >= 3, "three parts")
    os.killpg(victim.pid, 9)
    victim.communicate()
    assert "shards are already written" in other_night.run("run", JOB, "--date", DAY, *SLOWLY)
    resumed = other_night.manifest(DAY)
    assert [part["sha256"] for part in resumed["parts"]] == [part["sha256"] for part in undisturbed["parts"]]
    assert published_ids(other_night) == everything

    pq.write_table(pq.read_table(other_night.folder / "products.parquet").slice(0, 20), tmp_path / "products.parquet")
    other_night.run("inputs", "put", "catalog", str(tmp_path / "products.parquet"), "--replace")
    assert "20 rows published" in other_night.run("run", JOB, "--date", DAY)
    assert published_ids(other_night) == sorted(f"p{number}" for number in range(20))
    assert clean_up(other_night.storage, JOB, DAY) == 0
