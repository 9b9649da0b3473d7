"""Mistakes of users: the command ends with status 2, says what to do, and uploads nothing."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from flows.cli import main
from infra.settings import Settings, load_settings
from infra.storage import open_storage
from tests.integration.conftest import S3Server
from workers.inputs.tables import ATTRIBUTES

Run = Callable[..., tuple[int, str]]
GOOD = [{"product_id": "p1", "attributes": [{"key": "name", "value": "Larch 85"}]}]
SCHEMA = pa.schema([("product_id", pa.string()), ("attributes", ATTRIBUTES)])


@pytest.fixture
def run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Run]:
    """Runs the command line in this process, in an empty folder, on a store in a folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NIGHTSHIFT_STACK_DIR", str(tmp_path / "no-stack"))
    monkeypatch.setenv("NIGHTSHIFT_STORAGE_URI", (tmp_path / "store").as_uri())

    def call(*words: str) -> tuple[int, str]:
        load_settings.cache_clear()
        monkeypatch.setattr(sys, "argv", ["nightshift", *words])
        with pytest.raises(SystemExit) as ended:
            main()
        output = capsys.readouterr()
        return int(ended.value.code or 0), " ".join((output.out + output.err).split())

    yield call
    load_settings.cache_clear()


def catalogue(path: Path, rows: list[dict[str, Any]], schema: pa.Schema = SCHEMA) -> None:
    pq.write_table(pa.Table.from_pylist(rows, schema), path)


def attributes(*pairs: tuple[str, str | None]) -> list[dict[str, str | None]]:
    return [{"key": key, "value": value} for key, value in pairs]


def product(*pairs: tuple[str, str | None], **columns: Any) -> dict[str, Any]:
    return {"product_id": "p2", "attributes": attributes(*pairs), **columns}


LONG = pa.schema([*SCHEMA, ("description", pa.string())])


@pytest.mark.parametrize(
    ("rows", "schema", "expected"),
    [
        (
            [{"product_id": "p1"}],
            pa.schema([("product_id", pa.string())]),
            ["column attributes", "is missing"],
        ),
        (
            [{"product_id": "p1", "attributes": "red"}],
            pa.schema([("product_id", pa.string()), ("attributes", pa.string())]),
            ["column attributes", "found type string", "expected list"],
        ),
        ([], SCHEMA, ["empty", "expected at least one row"]),
        ([*GOOD, {"product_id": "p2", "attributes": None}], SCHEMA, ["row 2", "attributes"]),
        ([*GOOD, product(("colour", "red"), ("colour", "blue"))], SCHEMA, ["row 2", "colour"]),
        ([*GOOD, product(("colour", None))], SCHEMA, ["row 2", "colour"]),
        ([*GOOD, product(("k" * 300, "v"))], SCHEMA, ["row 2", "too long", "expected at most 128"]),
        (
            [*GOOD, product(("a", "b"), description="x" * 100_000)],
            LONG,
            ["row 2", "description", "100,000"],
        ),
        (
            [*GOOD, product(("colour", "red\u202eder"))],
            SCHEMA,
            ["row 2", "colour", "control character"],
        ),
        ([*GOOD, *GOOD], SCHEMA, ["row 2", "same id", "row 1"]),
    ],
    ids=[
        "missing-column",
        "wrong-type",
        "empty-table",
        "null-attributes",
        "repeated-key",
        "null-value",
        "long-key",
        "long-text",
        "bidi-override",
        "same-id-twice",
    ],
)
def test_a_bad_table_is_refused_with_file_row_and_column(
    run: Run, tmp_path: Path, rows: list[dict[str, Any]], schema: pa.Schema, expected: list[str]
) -> None:
    catalogue(tmp_path / "products.parquet", rows, schema)
    status, output = run("inputs", "put", "catalog", "products.parquet")
    assert status == 2, output
    for words in ["products.parquet", *expected]:
        assert words in output
    storage = open_storage(Settings(storage_uri=(tmp_path / "store").as_uri()))
    assert not list(storage.list("inputs/"))


def test_files_that_are_not_parquet_or_truncated_are_named(run: Run, tmp_path: Path) -> None:
    (tmp_path / "notes.parquet").write_text("product_id,attributes\n")
    status, output = run("inputs", "put", "catalog", "notes.parquet")
    assert (status, "notes.parquet is not a Parquet file" in output) == (2, True), output
    catalogue(tmp_path / "whole.parquet", GOOD)
    (tmp_path / "half.parquet").write_bytes((tmp_path / "whole.parquet").read_bytes()[:-20])
    status, output = run("inputs", "put", "catalog", "half.parquet")
    assert (status, "half.parquet" in output) == (2, True), output
    assert run("inputs", "put", "catalog", "nowhere.parquet")[0] == 2


def test_emoji_and_right_to_left_text_are_carried_unchanged(run: Run, tmp_path: Path) -> None:
    rows = [product(("name", "שולחן 🪑 كرسي"), ("price", "12 ₪"))]
    catalogue(tmp_path / "products.parquet", rows)
    assert run("inputs", "put", "catalog", "products.parquet")[0] == 0
    storage = open_storage(Settings(storage_uri=(tmp_path / "store").as_uri()))
    (stored,) = storage.list("inputs/catalog/")
    assert pq.read_table(tmp_path / "store" / stored.key).to_pylist() == rows


def test_csv_and_json_lines_say_where_they_are_wrong(run: Run, tmp_path: Path) -> None:
    (tmp_path / "products.csv").write_text(
        'product_id,attributes\np1,"{""colour"": ""red""}"\np2,not json\n'
    )
    status, output = run("inputs", "put", "catalog", "products.csv")
    assert (status, "products.csv" in output and "attributes" in output) == (2, True), output
    (tmp_path / "products.jsonl").write_text(json.dumps(GOOD[0]) + "\n{broken\n")
    status, output = run("inputs", "put", "catalog", "products.jsonl")
    assert (status, "products.jsonl" in output) == (2, True), output


def test_unknown_tables_jobs_settings_and_dates_are_answered_with_what_there_is(run: Run) -> None:
    assert "catalog, copy_examples" in run("inputs", "put", "products", "x.parquet")[1]
    _, output = run("show", "descriptions")
    assert "there are product_descriptions, product_images, copywriting" in output
    status, output = run("show", "product_descriptions", "--date", "yesterday")
    assert (status, "expected YYYY-MM-DD" in output) == (2, True)
    assert run("run", "product_descriptions", "--set", "temperature")[0] == 2
    assert run("no-such-command")[0] == 2


def test_no_storage_at_all_says_how_to_get_one(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NIGHTSHIFT_STORAGE_URI", "")
    status, output = run("show")
    assert (status, "run `nightshift up`" in output) == (2, True)
    monkeypatch.setenv("NIGHTSHIFT_STORAGE_URI", "ftp://somewhere")
    status, output = run("show")
    assert (status, "NIGHTSHIFT_STORAGE_URI" in output) == (2, True)


def use(monkeypatch: pytest.MonkeyPatch, server: S3Server, **changes: str) -> None:
    variables = {
        "NIGHTSHIFT_STORAGE_URI": f"s3://{server.bucket}/bad-input",
        "NIGHTSHIFT_S3_ENDPOINT_URL": server.endpoint,
        "NIGHTSHIFT_S3_ADDRESSING_STYLE": "path",
        "AWS_ACCESS_KEY_ID": server.access_key,
        "AWS_SECRET_ACCESS_KEY": server.secret_key,
    }
    for name, value in (variables | changes).items():
        monkeypatch.setenv(name, value)


@pytest.mark.parametrize(
    ("changes", "expected", "status"),
    [
        ({"AWS_SECRET_ACCESS_KEY": "wrong"}, "key", 2),
        ({"AWS_ACCESS_KEY_ID": "nobody"}, "key", 2),
        ({"NIGHTSHIFT_STORAGE_URI": "s3://no-such-bucket"}, "bucket", 2),
        # status 1, because the store may come back
        ({"NIGHTSHIFT_S3_ENDPOINT_URL": "http://127.0.0.1:9"}, "NIGHTSHIFT_S3_ENDPOINT_URL", 1),
    ],
    ids=["wrong-secret", "unknown-key", "missing-bucket", "endpoint-down"],
)
def test_a_store_that_cannot_be_used_says_what_to_look_at(
    run: Run,
    monkeypatch: pytest.MonkeyPatch,
    seaweedfs: S3Server,
    changes: dict[str, str],
    expected: str,
    status: int,
) -> None:
    use(monkeypatch, seaweedfs, **changes)
    found, output = run("show")
    assert (found, expected in output) == (status, True), output


def test_a_full_disk_is_reported_with_its_folder(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "none", disk]
    if subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("a small disk cannot be mounted here")
    try:
        monkeypatch.setenv("NIGHTSHIFT_STORAGE_URI", disk.as_uri())
        rows = [
            {"product_id": f"{n:032x}", "attributes": attributes(("name", f"{n * 7919:064x}"))}
            for n in range(20_000)
        ]
        catalogue(tmp_path / "products.parquet", rows)
        status, output = run("inputs", "put", "catalog", "products.parquet")
        assert (status, str(disk) in output) == (2, True), output
    finally:
        subprocess.run(["umount", disk], check=True)


def test_commands_that_need_prefect_say_so_when_it_is_not_there(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    status, output = run("nightly")
    assert (status, "run `nightshift up`, or set PREFECT_API_URL" in output) == (1, True), output
