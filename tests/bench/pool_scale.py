"""The pool's own cost: empty shards per second, and the driver's memory over many shards.

    python -m tests.bench.pool_scale [--shards 100000] [--actors 2] [--processes 2]

Runs the real pool on a real Ray cluster, with actors that return receipts at once and use no store.
With fewer processes than actors, several actors share a process: to the driver, one machine looks
like a thousand nodes.
"""

import argparse
import itertools
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import psutil
import ray
from rich.console import Console
from rich.progress import track

from infra.settings import Settings
from tests.support.ray_cluster import running_cluster
from tests.unit.workers.plans.test_plan import plan_of
from workers.actors.cluster import ORDINARY
from workers.actors.messages import Report, Watcher
from workers.generation import pool
from workers.partitions.parts import Receipt
from workers.plans.plan import Plan

MIB = 1 << 20
LOOK_EVERY = 10_000


class IdleWorker:
    """Replies like a GenerateActor, but does nothing."""

    def __init__(self, settings: Settings, label: str) -> None:
        self._node = ray.util.get_node_ip_address()

    def load(self, plan: Plan, files: object) -> str:
        self._fingerprint = plan.fingerprint
        return self._node

    def generate(self, index: int, lost_s: float) -> Receipt:
        return Receipt(
            shard=index,
            fingerprint=self._fingerprint,
            input_rows=1,
            accepted=1,
            rejected=0,
            quarantined=0,
            future=0,
            size_bytes=1,
            sha256=f"{index:064x}",
            node=self._node,
        )

    def report(self) -> Report:
        return Report(node=self._node)


@contextmanager
def idle_workers(num_processes: int) -> Iterator[None]:
    numbers = itertools.count()

    def options(*_: object, **__: object) -> dict[str, Any]:
        name = f"{ORDINARY}{next(numbers) % num_processes}"
        return {
            "name": name,
            "get_if_exists": True,
            "num_cpus": 0,
            "num_gpus": 0,
            "max_concurrency": 4,
        }

    with (
        patch.object(pool, "GenerateActor", IdleWorker),
        patch.object(pool, "actor_options", options),
    ):
        yield


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--shards", type=int, default=100_000)
    parser.add_argument("--actors", type=int, default=2)
    parser.add_argument("--processes", type=int, default=2)
    args = parser.parse_args()
    console, process = Console(width=110), psutil.Process()
    plan = plan_of((args.shards,), rows_per_shard=1)
    with (
        tempfile.TemporaryDirectory(prefix="pool-scale-") as folder,
        running_cluster(Path(folder, "ray")) as cluster,
    ):
        settings = Settings(ray_address=cluster.address)
        with (
            idle_workers(args.processes),
            pool.Pool(settings, plan, {}, lambda: args.actors, Watcher()) as workers,
        ):
            receipts, sizes, started, cpu = [], [], 0.0, 0.0
            for receipt in track(
                workers.run(range(args.shards)), total=args.shards, console=console
            ):
                if not receipts:
                    started, cpu = time.monotonic(), time.process_time()
                receipts.append(receipt)
                if len(receipts) % LOOK_EVERY == 0:
                    sizes.append(process.memory_info().rss / MIB)
            seconds, cpu = time.monotonic() - started, time.process_time() - cpu
    console.print(
        f"{args.shards:,} shards on {args.actors} actors: {args.shards / seconds:,.0f} a second"
    )
    console.print(
        f"driver's CPU: {1e3 * cpu / args.shards:.2f} ms a shard, {cpu / seconds:.0%} of the time"
    )
    shown = ", ".join(f"{size:.0f}" for size in sizes)
    console.print(f"driver after each {LOOK_EVERY:,}: {shown} MiB")


if __name__ == "__main__":
    main()
