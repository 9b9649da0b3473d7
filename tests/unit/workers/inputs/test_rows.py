from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from infra.errors import InputError
from tests.unit.workers.picture_files import picture
from workers.inputs.rows import IdRegister, check_rows
from workers.inputs.tables import ATTRIBUTES, CATALOG, COPY_EXAMPLES, IMAGE, IMAGES, InputTable

Pairs = list[dict[str, str | None]] | None
GOOD: Pairs = [{"key": "name", "value": "Aurora 5"}]


def pair(key: str | None, value: str | None) -> dict[str, str | None]:
    return {"key": key, "value": value}


def catalog(attributes: list[Pairs], **columns: Any) -> pa.Table:
    ids = [f"p{index}" for index in range(len(attributes))]
    return pa.table({"product_id": ids, "attributes": pa.array(attributes, ATTRIBUTES)} | columns)


def refusal(table: InputTable, rows: pa.Table) -> str:
    (batch,) = rows.combine_chunks().to_batches()
    with pytest.raises(InputError) as caught:
        check_rows(table, batch, "c.csv", rows_before=10)
    return str(caught.value)


@pytest.mark.parametrize(
    ("attributes", "found", "expected"),
    [
        (None, "null", "list"),
        ([pair(None, "x")], "without a key", "a key"),
        ([pair("  ", "x")], "without a key", "a key"),
        ([pair("k" * 300, "x")], "too long", "at most 128"),
        ([pair("a\nb", "x")], "control character", "one line"),
        ([pair("k", None)], "null for key 'k'", "leave out"),
        ([pair("k", "")], "empty value", "leave out"),
        ([pair("k", "v" * 2001)], "too long", "at most 2,000"),
        ([pair("k", "a\u202eb")], "control character", "one line"),
        ([pair("k", "1"), pair("k", "1")], "key 'k' twice", "each key once"),
    ],
)
def test_bad_attributes_are_refused_with_their_row(
    attributes: Pairs, found: str, expected: str
) -> None:
    message = refusal(CATALOG, catalog([GOOD, [], attributes, GOOD]))
    assert message.startswith("c.csv, row 13, column attributes: found ")
    assert found in message
    assert expected in message.partition("; expected ")[2]


@pytest.mark.parametrize("value", ["", " ", None, "x" * 257, "a\tb", "a\x00"])
def test_bad_ids_are_refused_with_their_row(value: str | None) -> None:
    message = refusal(
        CATALOG, catalog([GOOD, GOOD], product_id=pa.array(["p", value], pa.string()))
    )
    assert message.startswith("c.csv, row 12, column product_id: found ")


def test_a_text_of_a_hundred_thousand_characters_is_refused_with_its_row() -> None:
    message = refusal(CATALOG, catalog([GOOD, GOOD], description=["short", "x" * 100_000]))
    assert message == (
        "c.csv, row 12, column description: found a text of 100,000 characters; "
        "expected at most 20,000"
    )


def test_texts_may_have_several_lines_but_names_may_not() -> None:
    check_rows(CATALOG, catalog([GOOD], description=["one\n\ttwo"]).to_batches()[0], "c.csv")
    assert "column title" in refusal(CATALOG, catalog([GOOD], title=["one\ntwo"]))


def test_text_that_is_not_utf8_is_refused_with_its_row() -> None:
    offsets, data = (
        pa.py_buffer(bytes([0, 0, 0, 0, 1, 0, 0, 0, 3, 0, 0, 0])),
        pa.py_buffer(b"a\xff\xfe"),
    )
    title = pa.StringArray.from_buffers(2, offsets, data)
    assert "row 12, column title: found bytes that are not UTF-8" in refusal(
        CATALOG, catalog([GOOD, GOOD], title=title)
    )


def test_an_act_may_repeat_keys_and_ask_for_values() -> None:
    act = [pair("name", "A"), pair("price", None), pair("name", "B")]
    rows = pa.table(
        {
            "intent": ["compare", "goodbye"],
            "attributes": pa.array([act, []], ATTRIBUTES),
            "reference": ["A or B?", "Bye"],
        }
    )
    check_rows(COPY_EXAMPLES, rows.to_batches()[0], "e.csv")
    with pytest.raises(InputError, match="column reference: found an empty text"):
        check_rows(
            COPY_EXAMPLES, rows.set_column(2, "reference", [["A", " "]]).to_batches()[0], "e.csv"
        )


def test_emoji_and_right_to_left_text_pass() -> None:
    names: list[Pairs] = [
        [pair("name", value)] for value in ("👩‍🚀 Mug", "قلم رصاص", "עט 5", "e\u0301clair", "日本")
    ]
    check_rows(
        CATALOG,
        catalog(names, title=[pairs[0]["value"] for pairs in names if pairs]).to_batches()[0],
        "c.csv",
    )
    assert refusal(CATALOG, catalog([[pair("k", "\u2066x\u2069")]]))


def test_images_must_be_png_or_jpeg_and_labels_not_negative() -> None:
    def images(content: bytes | None, label: int) -> pa.Table:
        image = pa.array([{"bytes": content, "path": "a.png"}], IMAGE)
        return pa.table({"image": image, "label": [label], "label_name": ["a"]})

    good = picture(Image.new("L", (28, 28)))
    check_rows(IMAGES, images(good, 0).to_batches()[0], "i.parquet")
    assert "column image: found no bytes" in refusal(IMAGES, images(None, 0))
    assert "found a damaged PNG" in refusal(IMAGES, images(good[:-25], 0))
    assert "negative" in refusal(IMAGES, images(good, -1))


@settings(deadline=None, derandomize=True)
@given(
    st.lists(
        st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from("xy")), max_size=4),
        min_size=1,
        max_size=6,
    )
)
def test_repeated_keys_are_found_exactly_where_they_are(acts: list[list[tuple[str, str]]]) -> None:
    rows = catalog([[pair(key, value) for key, value in act] for act in acts]).slice(1)
    repeated = [
        index for index, act in enumerate(acts[1:]) if len({key for key, _ in act}) < len(act)
    ]
    if repeated:
        assert f"row {repeated[0] + 11}," in refusal(CATALOG, rows)
    else:
        for batch in rows.to_batches():
            check_rows(CATALOG, batch, "c.csv")


def test_a_repeated_id_is_named_with_both_rows() -> None:
    ids = IdRegister("product_id")
    ids.add(pa.array(["a", "b"]), "first.csv")
    ids.add(pa.array(["c", "d"]), "first.csv")
    ids.add(pa.array(["x", "d", "a"]), "second.csv")
    with pytest.raises(InputError) as caught:
        ids.check()
    assert str(caught.value).startswith(
        "second.csv, row 2, column product_id: the same id is in first.csv, row 4"
    )


@settings(deadline=None, derandomize=True)
@given(st.lists(st.lists(st.text(max_size=3), max_size=5), max_size=5))
def test_repeated_ids_are_found_exactly_where_they_are(files: list[list[str]]) -> None:
    ids = IdRegister("id")
    for index, file in enumerate(files):
        ids.add(pa.array(file, pa.string()), f"{index}.csv")
    every = [value for file in files for value in file]
    if len(set(every)) < len(every):
        with pytest.raises(InputError):
            ids.check()
    else:
        ids.check()
