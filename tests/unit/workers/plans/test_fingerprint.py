"""What makes a published partition stale: each ingredient of its rows alone, and nothing else."""

import subprocess
import sys
from collections.abc import Callable
from dataclasses import fields, replace
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from infra.settings import Settings, child_environment
from infra.storage import Storage, open_storage
from tests.support.manifests import a_manifest
from tests.unit.workers.plans.test_plan import PIN
from workers.inputs.snapshot import take_snapshot
from workers.inputs.tables import ATTRIBUTES
from workers.jobs import JOBS
from workers.partitions.manifest import Manifest, is_current
from workers.plans.plan import SETTINGS_WITHOUT_EFFECT, Plan
from workers.plans.planning import make_plan

DAY = date(2026, 11, 22)
JOB = JOBS["product_descriptions"]
SCHEMA = pa.schema(
    [("product_id", pa.string()), ("title", pa.string()), ("attributes", ATTRIBUTES)]
)
OTHER_VALUES = {
    int: lambda value: value + 1,
    float: lambda value: value + 0.25,
    str: lambda value: f"{value}x",
}
MAKING_SETTINGS = [
    field.name for field in fields(JOB.settings) if field.name not in SETTINGS_WITHOUT_EFFECT
]


def product_file(folder: Path, name: str) -> Path:
    return folder / "inputs" / "catalog" / f"{name}.parquet"


def write_products(folder: Path, name: str, titles: list[str]) -> None:
    rows = [
        {
            "product_id": f"{name}-{number}",
            "title": title,
            "attributes": [{"key": "name", "value": title}],
        }
        for number, title in enumerate(titles)
    ]
    path = product_file(folder, name)
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows, SCHEMA), path, compression="none")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_products(tmp_path, "a", ["Larch 85", "Larch 90"])
    write_products(tmp_path, "b", ["Elm 1"] * 30)
    return tmp_path


def store_at(folder: Path, **settings: Any) -> Storage:
    return open_storage(Settings(storage_uri=folder.as_uri(), **settings))


def plan_at(storage: Storage, **settings: Any) -> Plan:
    return make_plan(
        JOB, DAY, take_snapshot(storage, "catalog", DAY), PIN, JOB.parse_settings(settings)
    )


def published(plan: Plan) -> Manifest:
    return a_manifest(fingerprint=plan.fingerprint, attempts=plan.attempts)


def change_one_byte(folder: Path) -> None:
    path = product_file(folder, "a")
    before = path.read_bytes()
    write_products(folder, "a", ["Larch 85", "Larch 91"])
    after = path.read_bytes()
    assert (
        len(after)
        == len(before)
        != sum(one == other for one, other in zip(before, after, strict=True))
    )


@pytest.mark.parametrize(
    "change",
    [
        change_one_byte,
        lambda folder: write_products(folder, "c", ["Oak 3"]),
        lambda folder: (folder / "inputs" / "catalog" / "b.parquet").unlink(),
        lambda folder: (folder / "inputs" / "catalog" / "b.parquet").rename(
            folder / "inputs" / "catalog" / "d.parquet"
        ),
    ],
    ids=["one-byte", "further-file", "missing-file", "renamed-file"],
)
def test_changed_inputs_make_a_partition_stale(
    folder: Path, change: Callable[[Path], None]
) -> None:
    storage = store_at(folder)
    before = published(plan_at(storage))
    change(folder)
    assert not is_current(plan_at(storage), before)


@pytest.mark.parametrize("name", MAKING_SETTINGS)
def test_each_setting_makes_a_partition_stale(folder: Path, name: str) -> None:
    storage = store_at(folder)
    value = getattr(JOB.settings(), name)
    changed = plan_at(storage, **{name: OTHER_VALUES[type(value)](value)})
    assert not is_current(changed, published(plan_at(storage)))


@pytest.mark.parametrize(
    "change",
    [
        lambda plan: replace(plan, job_version=plan.job_version + 1),
        lambda plan: replace(plan, job="copywriting"),
        lambda plan: replace(plan, date="2026-11-21"),
        lambda plan: replace(plan, model=replace(plan.model, weights_sha256="1" * 64)),
        lambda plan: replace(plan, model=replace(plan.model, version="another")),
        lambda plan: replace(
            plan, snapshot=replace(plan.snapshot, cut="2026-11-22T00:00:00+00:00")
        ),
    ],
    ids=["job-version", "job", "date", "weights", "model-version", "cut"],
)
def test_job_model_and_cut_make_a_partition_stale(
    folder: Path, change: Callable[[Plan], Plan]
) -> None:
    plan = plan_at(store_at(folder))
    assert not is_current(change(plan), published(plan))


def test_nothing_else_makes_a_partition_stale(folder: Path) -> None:
    plan = plan_at(store_at(folder))
    elsewhere = folder.parent / f"{folder.name}-under-another-name"
    elsewhere.symlink_to(folder)
    others = {
        "read again": plan_at(store_at(folder)),
        "another storage URI": plan_at(store_at(elsewhere)),
        "other workers": plan_at(
            store_at(folder, num_actors=7, stall_timeout_s=5, ray_address="10.0.0.1:6379")
        ),
        "further attempts": replace(plan, attempts=3),
        "error_budget": plan_at(store_at(folder), error_budget=0.5),
    }
    assert [what for what, other in others.items() if not is_current(other, published(plan))] == []


def test_another_process_at_another_place_and_time_gives_the_same_fingerprint(folder: Path) -> None:
    program = (
        "import sys; from pathlib import Path; "
        "from tests.unit.workers.plans.test_fingerprint import plan_at, store_at; "
        "print(plan_at(store_at(Path(sys.argv[1]))).fingerprint)"
    )
    environment = child_environment(
        PYTHONHASHSEED="7", TZ="Asia/Tokyo", LC_ALL="C", NIGHTSHIFT_NUM_ACTORS="3"
    )
    child = subprocess.run(
        [sys.executable, "-c", program, str(folder)],
        env=environment,
        text=True,
        capture_output=True,
        check=True,
    )
    assert child.stdout.strip() == plan_at(store_at(folder)).fingerprint
