"""Compares a partition of texts with the same generate function in a bare loop and in Ray Data.

    python -m tests.bench.partition_speed [--seconds 10 120] [--rounds 3] [--train-s 60]
                                          [--shards 10000]

All use one actor with one thread and the same model, rows, batches and settings; input and output
are on SeaweedFS.

- The partition is planned, generated, checked and published.
- Ray Data reads the same files, maps batches with an actor that holds the model, and writes
  Parquet.
- The bare loop has its rows and its model in memory and writes nothing. Its process is as fresh as
  the actors.

They take turns, in the environment of actors. Two further measurements follow: a partition that
takes over the actors of the one before, and shards without rows (shards per second, and the time to
resume with one shard missing and to publish).
"""

import argparse
import multiprocessing
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from statistics import median
from typing import Any

import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import ray
import torch
from rich.console import Console
from rich.table import Table

from infra.local import supervised
from infra.settings import Settings
from infra.storage import Storage, open_storage
from tests.bench.actor_environment import enter_actor_environment
from tests.bench.trained_version import publish_folder, train_folder
from tests.integration.conftest import ACCESS_KEY, SECRET_KEY, seaweedfs_below
from tests.support import ports
from tests.support.ray_cluster import Cluster, running_cluster
from tests.support.reader import filesystem_of
from workers.actors.idle_actors import IDLE_ACTORS
from workers.generation.generate import Progress, generate_shards
from workers.generation.rows import RowGenerator, ShardRows
from workers.inputs.snapshot import take_snapshot
from workers.inputs.store import put_table
from workers.jobs import JOBS
from workers.models import MODELS
from workers.partitions.manifest import make_manifest
from workers.partitions.parts import Receipt, part_key
from workers.partitions.publish import publish
from workers.partitions.quality import measure_quality
from workers.plans.plan import Plan
from workers.plans.planning import make_plan
from workers.registry.versions import ModelVersion
from workers.samples import write_samples

DAY = date(2026, 11, 22)
JOB = JOBS["product_descriptions"]
MODEL = MODELS[JOB.model]
MIB = 1 << 20


@dataclass(slots=True)
class Peaks:
    """Peak memory of processes in MiB, sampled at each progress report."""

    cluster: Cluster
    driver: float = 0.0
    actor: float = 0.0

    def look(self) -> None:
        self.driver = max(self.driver, psutil.Process().memory_info().rss / MIB)
        for process in self.cluster.actor_processes("GenerateActor"):
            self.actor = max(self.actor, process.memory_info().rss / MIB)


def train(storage: Storage, folder: Path, texts: Path, cpu_budget_s: float) -> ModelVersion:
    put_table(storage, "copy_examples", [texts])
    overrides = {"cpu_budget_s": cpu_budget_s, "num_scored": 50}
    train_folder(storage, MODEL, "gpt", DAY, folder / "model", overrides)
    return publish_folder(storage, MODEL, "gpt", DAY, folder / "model")


def plan_of(storage: Storage, version: ModelVersion, **settings: Any) -> Plan:
    snapshot = take_snapshot(storage, JOB.table, DAY)
    return make_plan(JOB, DAY, snapshot, version.pin, JOB.parse_settings(settings))


def bare_loop(folder: Path, rows: pa.Table) -> float:
    """Seconds for the same batches in memory, without the time to load the model."""
    model = MODEL.load(folder / "model", "cpu")
    settings = JOB.parse_settings({})
    torch.set_num_threads(1)
    started = time.monotonic()
    result = ShardRows(JOB)
    RowGenerator(JOB, model, "bare", settings).complete(result, rows, 1, lambda done: None)
    result.table()
    return time.monotonic() - started


def fresh_bare_loop(folder: Path, rows: pa.Table) -> float:
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
        return process.submit(bare_loop, folder, rows).result()


@dataclass(slots=True)
class Timing:
    """Seconds from planning until the partition can be read, and until its first shard starts."""

    whole: float
    start: float


def whole_partition(
    settings: Settings, storage: Storage, version: ModelVersion, seed: int, peaks: Peaks
) -> Timing:
    started, first = time.monotonic(), []

    def on_progress(progress: Progress) -> None:
        peaks.look()
        if progress.done_shards and not first:
            first.append(time.monotonic())

    plan = plan_of(storage, version, seed=seed)
    receipts = generate_shards(
        settings, storage, plan, lambda line: None, on_progress, num_actors=1
    )
    publish_shards(storage, plan, receipts)
    timing = Timing(time.monotonic() - started, first[0] - receipts[0].seconds - started)
    storage.delete([item.key for prefix in ("outputs/", "work/") for item in storage.list(prefix)])
    return timing


def publish_shards(storage: Storage, plan: Plan, receipts: list[Receipt]) -> None:
    quality = measure_quality(storage, plan, receipts, JOB.meter())
    manifest = make_manifest(plan, receipts, quality, 0.0, "bench", None)
    assert publish(storage, plan, receipts, manifest, None)


class Mapped:
    """The actor by which Ray Data maps batches: the model and the generate function."""

    def __init__(self, folder: str, seed: int) -> None:
        torch.set_num_threads(1)
        model = MODEL.load(Path(folder, "model"), "cpu")
        settings = JOB.parse_settings({"seed": seed})
        self._generator = RowGenerator(JOB, model, "ray data", settings)

    def __call__(self, batch: pa.Table) -> pa.Table:
        result = ShardRows(JOB)
        self._generator.complete(result, batch, 1, lambda done: None)
        return result.table()


def ray_data(storage: Storage, folder: Path, seed: int) -> float:
    """Seconds from reading to Parquet files on the store."""
    filesystem, root = filesystem_of(storage)
    started = time.monotonic()
    rows = ray.data.read_parquet(f"{root}/inputs/{JOB.table}/", filesystem=filesystem)
    batch_rows = JOB.parse_settings({}).batch_rows
    made = rows.select_columns(list(JOB.columns)).map_batches(
        Mapped,
        fn_constructor_args=(str(folder), seed),
        batch_format="pyarrow",
        batch_size=batch_rows,
        num_cpus=1,
        compute=ray.data.ActorPoolStrategy(size=1),
    )
    made.write_parquet(f"{root}/ray-data/{seed}/", filesystem=filesystem)
    return time.monotonic() - started


@contextmanager
def running_store(folder: Path) -> Iterator[tuple[Settings, Storage]]:
    folder.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ACCESS_KEY_ID", ACCESS_KEY)
        patch.setenv("AWS_SECRET_ACCESS_KEY", SECRET_KEY)
        spec, server = seaweedfs_below(folder, (ACCESS_KEY, SECRET_KEY), ports.SEAWEEDFS)
        supervised.start(spec, folder)
        try:
            settings = server.settings("bench")
            yield settings, open_storage(settings)
        finally:
            supervised.stop(spec.name, folder, timeout_s=0)


def products(folder: Path, num_products: int, seed: int) -> pa.Table:
    numbers = {"num_examples": 0, "num_requests": 0, "num_interactions": 0, "num_images": 0}
    tables = write_samples(folder, num_products=num_products, seed=seed, **numbers)
    return pq.read_table(tables["catalog"])


def put_products(storage: Storage, folder: Path, rows: pa.Table) -> None:
    pq.write_table(rows, folder / "products.parquet")
    put_table(storage, JOB.table, [folder / "products.parquet"], replace=True)


def empty_shards(
    settings: Settings, storage: Storage, version: ModelVersion, folder: Path, number: int
) -> list[float]:
    """Measures shards with nothing to generate.

    Returns the shards per second after the first, the seconds of a run that finds one shard
    missing, and the seconds of measuring quality and publishing.
    """
    rows = products(folder / "empty", 100, 1).slice(0, 1)
    noon = datetime(DAY.year, DAY.month, DAY.day, 12, tzinfo=UTC)
    times = pa.array([noon, *[noon + timedelta(days=2)] * (number - 1)], pa.timestamp("us", "UTC"))
    columns = {
        "product_id": [f"p{i}" for i in range(number)],
        "title": rows["title"].to_pylist() * number,
    }
    table = pa.table(
        columns | {"attributes": pa.concat_arrays([rows["attributes"].combine_chunks()] * number)}
    )
    put_products(storage, folder, table.append_column("updated_at", times))
    plan = plan_of(storage, version, rows_per_shard=1, batch_rows=1)
    assert plan.num_shards == number, (
        "all but one row are from the future, which keeps the file in the snapshot"
    )
    found: list[float] = []
    for _ in range(2):
        started, first = time.monotonic(), []

        def on_progress(_: object, first: list[float] = first) -> None:
            first.append(time.monotonic())

        receipts = generate_shards(
            settings, storage, plan, lambda line: None, on_progress, num_actors=2
        )
        ended = time.monotonic()
        found += [number / (ended - first[0]), ended - started]
        if len(found) == 2:
            storage.delete([part_key(plan, number // 2)])
    publish_shards(storage, plan, receipts)
    published_s = time.monotonic() - ended
    storage.delete([item.key for prefix in ("outputs/", "work/") for item in storage.list(prefix)])
    return [found[0], found[3], published_s]


@dataclass(slots=True)
class Round:
    """Seconds of each contestant."""

    bare: float
    ours: Timing
    ray_data: float


def take_turns(
    settings: Settings,
    storage: Storage,
    version: ModelVersion,
    folder: Path,
    rows: pa.Table,
    peaks: Peaks,
    number: int,
) -> Round:
    return Round(
        fresh_bare_loop(folder, rows),
        whole_partition(settings, storage, version, number, peaks),
        ray_data(storage, folder, number),
    )


def row_of(num_rows: int, rounds: list[Round]) -> list[str]:
    return [
        f"{num_rows:,}",
        f"{num_rows / median(one.bare for one in rounds):.1f}",
        f"{num_rows / median(one.ours.whole for one in rounds):.1f}",
        f"{num_rows / median(one.ray_data for one in rounds):.1f}",
        f"{median(one.bare / one.ours.whole for one in rounds):.2f}",
        f"{median(one.ray_data / one.ours.whole for one in rounds):.2f}",
        f"{median(one.ours.start for one in rounds):.1f}",
    ]


COLUMNS = (
    "rows",
    "bare loop, rows/s",
    "partition",
    "Ray Data",
    "partition / bare",
    "partition / Ray Data",
    "first shard, s",
)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--seconds", type=float, nargs="+", default=[10, 120], help="of generating alone, about"
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--train-s", type=float, default=60)
    parser.add_argument("--shards", type=int, default=10_000)
    args = parser.parse_args()
    enter_actor_environment()
    console, table = Console(width=140), Table(*COLUMNS)
    with tempfile.TemporaryDirectory(prefix="partition-speed-") as name:
        folder = Path(name)
        numbers = {"num_products": 20, "num_requests": 0, "num_interactions": 0, "num_images": 0}
        shop = write_samples(folder / "shop", num_examples=3000, seed=0, **numbers)
        texts = shop["copy_examples"]
        with (
            running_store(folder / "s3") as (stored, storage),
            running_cluster(folder / "ray") as cluster,
        ):
            settings = stored.model_copy(update={"ray_address": cluster.address})
            peaks = Peaks(cluster)
            version = train(storage, folder, texts, args.train_s)
            probe = products(folder / "probe", 300, 0)
            rate = len(probe) / fresh_bare_loop(folder, probe)
            ray.data.DataContext.get_current().enable_progress_bars = False
            for seconds in args.seconds:
                rows = products(folder / f"{seconds}", max(20, int(rate * seconds)), 0)
                put_products(storage, folder, rows)
                rounds = []
                for number in range(args.rounds):
                    one = take_turns(settings, storage, version, folder, rows, peaks, number)
                    rounds.append(one)
                    console.print(f"{len(rows)} rows, round {number + 1}: {one}")
                table.add_row(*row_of(len(rows), rounds))
                if seconds == min(args.seconds):
                    with IDLE_ACTORS.kept():
                        first = whole_partition(settings, storage, version, 100, peaks)
                        second = whole_partition(settings, storage, version, 101, peaks)
                    console.print(
                        "one partition after the other: first shard after "
                        f"{first.start:.1f} and {second.start:.1f} s"
                    )
            console.print(table)
            console.print(
                f"peak memory: actor {peaks.actor:,.0f} MiB, "
                f"driver {peaks.driver:,.0f} MiB (with Ray Data)"
            )
            if args.shards:
                shards_per_s, resumed_s, published_s = empty_shards(
                    settings, storage, version, folder, args.shards
                )
                console.print(
                    f"{args.shards:,} shards without rows, two actors: {shards_per_s:,.0f} a "
                    f"second; with one of them missing: {resumed_s:.1f} s, including the start of "
                    f"an actor; quality and publishing: {published_s:.1f} s"
                )


if __name__ == "__main__":
    main()
