"""One file for the small modules of the sample generator: they are one thing to its users."""

import io
import random
import re
from collections import Counter
from itertools import islice, pairwise
from pathlib import Path

import pyarrow as pa
import pytest
from PIL import Image

from infra.storage.files import FileStorage
from workers.inputs.store import put_table
from workers.samples import iter_catalog_tables, write_samples
from workers.samples.catalog import CHUNK_ROWS, iter_products
from workers.samples.copy import INTENT_WEIGHTS, Saying, iter_sayings
from workers.samples.interactions import iter_interaction_tables
from workers.samples.kinds import KINDS
from workers.samples.pictures import DRAWINGS, IMAGE_PX, iter_image_tables

NUMBER = re.compile(r"\d+(?:\.\d+)?")


@pytest.fixture(scope="module")
def sayings() -> list[Saying]:
    return list(iter_sayings(list(iter_products(300, seed=5)), 4_000, random.Random(5)))


def test_the_same_seed_writes_the_same_bytes_and_another_seed_does_not(tmp_path: Path) -> None:
    def write(folder: str, seed: int) -> list[bytes]:
        paths = write_samples(
            tmp_path / folder,
            num_products=50,
            num_examples=60,
            num_requests=20,
            num_images=14,
            num_interactions=80,
            seed=seed,
        )
        return [paths[name].read_bytes() for name in sorted(paths)]

    first, again, other = write("a", 1), write("b", 1), write("c", 2)
    assert len(first) == 5
    assert first == again
    assert all(one != two for one, two in zip(first, other, strict=True))


def test_every_sample_table_is_a_valid_input_table(tmp_path: Path) -> None:
    paths = write_samples(
        tmp_path / "samples",
        num_products=400,
        num_examples=500,
        num_requests=100,
        num_images=70,
        num_interactions=1_000,
        seed=0,
    )
    storage = FileStorage((tmp_path / "store").as_uri())
    rows = {name: put_table(storage, name, [path]).num_rows for name, path in paths.items()}
    assert rows == {
        "catalog": 400,
        "copy_examples": 500,
        "copy_requests": 100,
        "images": 70,
        "interactions": 1_000,
    }


def test_texts_without_products_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="at least one product"):
        write_samples(
            tmp_path,
            num_products=0,
            num_examples=1,
            num_requests=0,
            num_images=0,
            num_interactions=0,
            seed=0,
        )


def test_a_larger_catalogue_begins_with_the_smaller_one() -> None:
    small = pa.concat_tables(iter_catalog_tables(CHUNK_ROWS + 5, seed=3))
    large = next(iter_catalog_tables(CHUNK_ROWS + 500, seed=3))
    assert small.slice(0, CHUNK_ROWS) == large
    assert len(set(small["product_id"].to_pylist())) == CHUNK_ROWS + 5


def test_the_first_table_is_made_without_the_later_ones() -> None:
    first = list(islice(iter_catalog_tables(10**9, seed=0), 1))
    assert first[0].num_rows == CHUNK_ROWS


def test_every_kind_has_its_own_features_and_eight_to_twelve_attributes() -> None:
    for kind in KINDS:
        keys = [feature.key for feature in kind.features]
        assert len(set(keys)) == len(keys)
        assert 8 <= len(keys) <= 12
    assert len({tuple(sorted(feature.key for feature in kind.features)) for kind in KINDS}) == len(
        KINDS
    )


def test_texts_state_every_value_they_are_given_and_no_other_number(sayings: list[Saying]) -> None:
    for saying in sayings:
        given = [
            value for value in saying.attributes.values() if value not in (None, "true", "false")
        ]
        assert all(value in saying.text for value in given), saying
        assert set(NUMBER.findall(saying.text)) <= set(NUMBER.findall(" ".join(map(str, given)))), (
            saying
        )


def test_texts_are_about_the_product_they_name() -> None:
    products = {product.product_id: product for product in iter_products(100, seed=1)}
    for saying in iter_sayings(list(products.values()), 500, random.Random(1)):
        if saying.intent in ("inform", "recommend") and saying.product_id:
            product = products[saying.product_id]
            expected = {"name": product.name, "type": product.kind.name, **product.facts}
            assert saying.attributes.items() <= expected.items()


def test_texts_are_plain_written_english(sayings: list[Saying]) -> None:
    for saying in sayings:
        assert saying.text[0].isupper(), saying
        assert saying.text[-1] in ".?!", saying
        assert not re.search(r"\ba [aeiou]|[{}|]|  | [.,]", saying.text), saying


def test_texts_vary_and_every_intent_comes_up(sayings: list[Saying]) -> None:
    assert set(INTENT_WEIGHTS) == {saying.intent for saying in sayings}
    texts = [saying.text for saying in sayings if saying.intent in ("inform", "recommend")]
    assert len(set(texts)) > 0.95 * len(texts)
    openings = Counter(" ".join(text.split()[:2]) for text in texts)
    assert openings.most_common(1)[0][1] < 0.2 * len(texts)


def test_nobody_recommends_a_product_for_what_it_lacks(sayings: list[Saying]) -> None:
    assert all(
        "false" not in saying.attributes.values()
        for saying in sayings
        if saying.intent == "recommend"
    )


def test_descriptions_repeat_values_of_their_own_product() -> None:
    described = [product for product in iter_products(2_000, seed=2) if product.description]
    assert len(described) > 50
    for product in described:
        assert product.description is not None
        values = [value for value in product.facts.values() if value in product.description]
        assert product.name in product.description
        assert len(values) >= 3
        assert set(NUMBER.findall(product.description)) <= set(
            NUMBER.findall(" ".join([product.name, *values]))
        )


def test_pictures_are_of_every_kind_and_all_different() -> None:
    table = pa.concat_tables(iter_image_tables(70, seed=0))
    assert Counter(table["label_name"].to_pylist()) == {name: 10 for name, _ in DRAWINGS}
    contents = [row["bytes"] for row in table["image"].to_pylist()]
    assert len(set(contents)) == 70
    for content in contents:
        picture = Image.open(io.BytesIO(content))
        assert (picture.format, picture.mode, picture.size) == ("PNG", "RGB", (IMAGE_PX, IMAGE_PX))
        assert len(picture.getcolors(maxcolors=IMAGE_PX**2) or []) > 8


def test_customers_have_tastes_and_buy_nothing_twice() -> None:
    products = list(iter_products(200, seed=0))
    kinds = {product.product_id: product.kind.name for product in products}
    (table,) = iter_interaction_tables(products, 5_000, seed=0)
    rows = table.to_pylist()
    assert [row["event_time"] for row in rows] == sorted(row["event_time"] for row in rows)
    assert len({(row["user_id"], row["item_id"]) for row in rows}) == len(rows) == 5_000
    histories: dict[str, list[str]] = {}
    for row in rows:
        histories.setdefault(row["user_id"], []).append(kinds[row["item_id"]])
    same_kind = [one == two for history in histories.values() for one, two in pairwise(history)]
    assert sum(same_kind) > 1.5 * len(same_kind) / len(KINDS)
