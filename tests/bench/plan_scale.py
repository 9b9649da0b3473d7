"""Plans a partition of a billion rows in a million shards, and prints the time and memory it takes.

    python tests/bench/plan_scale.py [--objects 1000] [--rows-per-shard 1000]

The store is a folder in which one real file of a million rows has a thousand names. Planning reads
the footer of each, but no rows.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from datetime import date
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from rich.console import Console
from rich.table import Table

from infra.settings import Settings
from infra.storage import open_storage
from workers.inputs.snapshot import take_snapshot
from workers.inputs.tables import ATTRIBUTES
from workers.jobs import JOBS
from workers.partitions.parts import list_parts
from workers.pins import ModelPin
from workers.plans.planning import make_plan

ROWS_PER_OBJECT = 1_000_000
ROWS_PER_GROUP = 65_536
DAY = date(2026, 11, 22)
PIN = ModelPin("copywriter", "2026-11-22-gpt-00000000", "0" * 64, "2026-11-22")
SCHEMA = pa.schema(
    [("product_id", pa.string()), ("title", pa.string()), ("attributes", ATTRIBUTES)]
)
GOALS = {"seconds": 60.0, "peak_gb": 1.0}


def write_store(folder: Path, num_objects: int) -> None:
    """Writes one file under many names; its rows are alike, because nobody reads them."""
    catalog = folder / "inputs" / "catalog"
    catalog.mkdir(parents=True)
    ids = pa.array([f"p{number}" for number in range(ROWS_PER_OBJECT)])
    larch = pa.scalar([{"key": "name", "value": "Larch"}], ATTRIBUTES)
    attributes = pa.repeat(larch, ROWS_PER_OBJECT)
    rows = pa.table([ids, ids, attributes], schema=SCHEMA)
    first = catalog / "00000.parquet"
    pq.write_table(rows, first, row_group_size=ROWS_PER_GROUP, compression="zstd")
    for number in range(1, num_objects):
        (catalog / f"{number:05d}.parquet").hardlink_to(first)


def measure(folder: Path, rows_per_shard: int) -> dict[str, float]:
    """Measures everything that happens before the first shard is generated."""
    storage = open_storage(Settings(storage_uri=folder.as_uri()))
    job = JOBS["product_descriptions"]
    before_gb, started = peak_gb(), time.monotonic()
    snapshot = take_snapshot(storage, job.table, DAY)
    snapshot_s = time.monotonic() - started
    settings = job.parse_settings({"rows_per_shard": rows_per_shard})
    plan = make_plan(job, DAY, snapshot, PIN, settings)
    plan.store(storage)
    finished = list_parts(storage, plan.prefix)
    missing = [index for index in range(plan.num_shards) if index not in finished]
    num_rows = sum(plan.shard(index).stop - plan.shard(index).start for index in missing)
    assert num_rows == snapshot.num_rows
    info = storage.head(f"{plan.prefix}plan.json")
    assert info is not None
    return {
        "rows": snapshot.num_rows,
        "shards": len(missing),
        "snapshot_s": snapshot_s,
        "seconds": time.monotonic() - started,
        "imports_gb": before_gb,
        "peak_gb": peak_gb(),
        "plan_json_mb": info.size_bytes / 1e6,
    }


def peak_gb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


def in_child(function: str, folder: str, number: int) -> str:
    """Calls a function of this module in a child process; returns its result as JSON.

    The peak memory of a process includes that of its parent, so this process must not measure or
    write anything itself.
    """
    call = f"plan_scale.{function}(pathlib.Path({folder!r}), {number})"
    program = f"import json, pathlib, plan_scale; print(json.dumps({call}))"
    command = [sys.executable, "-c", program]
    folder_of_module = Path(__file__).parent
    return subprocess.run(
        command, cwd=folder_of_module, text=True, stdout=subprocess.PIPE, check=True
    ).stdout


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--objects", type=int, default=1000)
    parser.add_argument("--rows-per-shard", type=int, default=1000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="plan-scale-") as folder:
        in_child("write_store", folder, options.objects)
        found = json.loads(in_child("measure", folder, options.rows_per_shard))
    table = Table("figure", "measured", "goal")
    for figure, value in found.items():
        goal = f"< {GOALS[figure]:g}" if figure in GOALS else ""
        table.add_row(figure, f"{value:,.0f}" if value == int(value) else f"{value:.2f}", goal)
    Console().print(table)
    return int(any(found[figure] >= goal for figure, goal in GOALS.items()))


if __name__ == "__main__":
    sys.exit(main())
