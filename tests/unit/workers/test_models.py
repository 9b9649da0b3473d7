from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from aigc_models.text.model import TextExample
from infra.errors import InputError
from infra.settings import Settings
from infra.storage import Storage, open_storage
from infra.storage.parquet import encode
from workers.inputs.snapshot import take_snapshot
from workers.inputs.tables import ATTRIBUTES, TIMESTAMP
from workers.models import MODELS, copywriter
from workers.models.copywriter import read_examples

DAY = date(2026, 11, 22)
COPY = pa.schema([("intent", pa.string()), ("attributes", ATTRIBUTES), ("reference", pa.string())])
CATALOG = pa.schema(
    [
        ("product_id", pa.string()),
        ("title", pa.string()),
        ("attributes", ATTRIBUTES),
        ("description", pa.string()),
        ("updated_at", TIMESTAMP),
    ]
)


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return open_storage(Settings(storage_uri=tmp_path.as_uri()))


def attributes(**values: str) -> list[dict[str, str]]:
    return [{"key": key.replace("_", " "), "value": value} for key, value in values.items()]


def load(storage: Storage, table: str, rows: list[dict[str, Any]], schema: pa.Schema) -> None:
    storage.put(f"inputs/{table}/a.parquet", encode(pa.Table.from_pylist(rows, schema), schema, {}))


def product(number: int, **columns: Any) -> dict[str, Any]:
    facts = attributes(colour="red", keep_warm="true", foldable="false", price="12 euros")
    text = f"The Kettle {number} is red and keeps your tea warm."
    return {
        "product_id": f"p{number}",
        "title": f"Kettle {number}",
        "attributes": facts,
        "description": text,
        **columns,
    }


def read(storage: Storage, *tables: str) -> list[TextExample]:
    snapshots = [take_snapshot(storage, table, DAY) for table in tables]
    return read_examples(storage, snapshots, MODELS["copywriter"].parse_settings("", {}))


def test_a_description_is_an_example_of_the_attributes_it_states(storage: Storage) -> None:
    load(storage, "catalog", [product(1)], CATALOG)
    (example,) = read(storage, "catalog")
    assert example.request.attributes == (
        ("name", "Kettle 1"),
        ("colour", "red"),
        ("keep warm", "true"),
    )


def test_rows_without_a_description_or_after_the_cut_are_not_examples(storage: Storage) -> None:
    late = datetime(2026, 11, 23, tzinfo=UTC)
    load(
        storage,
        "catalog",
        [product(1), product(2, description=None), product(3, updated_at=late)],
        CATALOG,
    )
    assert [example.reference[:12] for example in read(storage, "catalog")] == ["The Kettle 1"]


def test_descriptions_are_at_most_as_many_as_copy_examples(storage: Storage) -> None:
    load(
        storage,
        "copy_examples",
        [{"intent": "inform", "attributes": [], "reference": "Hello."}] * 2,
        COPY,
    )
    load(storage, "catalog", [product(number) for number in range(5)], CATALOG)
    assert len(read(storage, "copy_examples", "catalog")) == 4
    assert len(read(storage, "catalog")) == 5


def test_an_even_share_is_read_from_too_many_rows(
    storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = [
        {"intent": "inform", "attributes": [], "reference": f"Text {number}."}
        for number in range(10)
    ]
    load(storage, "copy_examples", texts, COPY)
    every = [example.reference for example in read(storage, "copy_examples")]
    assert every == [row["reference"] for row in texts]
    monkeypatch.setattr(copywriter, "MAX_EXAMPLES", 4)
    assert [example.reference for example in read(storage, "copy_examples")] == [
        every[i] for i in (2, 4, 7, 9)
    ]
    described = [
        product(number, **({} if number % 5 == 0 else {"description": None}))
        for number in range(20)
    ]
    load(storage, "catalog", described, CATALOG)
    assert len(read(storage, "catalog")) == 4, "rows without a text take no share"


def test_unchecked_rows_are_skipped(storage: Storage) -> None:
    bad = [{"intent": "inform", "attributes": None}, {"intent": None, "attributes": []}]
    good = {"intent": "inform", "attributes": [], "reference": "Hello."}
    load(storage, "copy_examples", [*({**row, "reference": "Bad."} for row in bad), good], COPY)
    load(
        storage,
        "catalog",
        [product(1, attributes=None), product(2, attributes=[None]), product(3)],
        CATALOG,
    )
    found = [example.reference[:12] for example in read(storage, "copy_examples", "catalog")]
    assert found == ["Hello.", "The Kettle 3"]


def test_the_error_of_missing_examples_says_what_to_load(storage: Storage) -> None:
    load(storage, "catalog", [product(1, description=None)], CATALOG)
    with pytest.raises(InputError, match="inputs put copy_examples"):
        read(storage, "catalog")


def test_families_have_different_settings_and_unknown_families_are_refused() -> None:
    model = MODELS["copywriter"]
    assert model.parse_settings("", {}).family == "gpt"
    assert model.parse_settings("lstm", {"max_steps": "7"}).max_steps == 7
    assert model.parse_settings("lstm", {}).width != model.parse_settings("gpt", {}).width
    with pytest.raises(InputError, match="no family 'bert'; there are gpt, lstm, gru, rnn"):
        model.parse_settings("bert", {})
    with pytest.raises(InputError, match="family is not a setting: use `--model gru`"):
        model.parse_settings("", {"family": "gru"})
