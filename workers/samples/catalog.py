"""The products of the sample shop. For a seed, a larger catalogue starts with the smaller one."""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice

import pyarrow as pa

from workers.inputs.tables import ATTRIBUTES, TIMESTAMP
from workers.samples.features import Kind, phrases
from workers.samples.grammar import describe
from workers.samples.kinds import KINDS

CHUNK_ROWS = 4096
"""Products that share a random stream and a table."""
DESCRIBED_SHARE = 0.05
KNOWN_SHARE = 0.9
"""Share of its kind's features that a product has a value for."""
EARLIEST_UPDATE = datetime(2026, 1, 5, tzinfo=UTC)
UPDATE_DAYS = 240
FIRST_NAMES = phrases(
    """Alder | Amber | Anselm | Aurora | Beacon | Birch | Bramble | Brook | Cedar | Clover
    | Comet | Coral | Dahlia | Dune | Echo | Elm | Ember | Fern | Finch | Fjord | Garnet | Ginkgo
    | Harbour | Hazel | Heron | Indigo | Iris | Juniper | Kestrel | Lagoon | Larch | Linden
    | Lotus | Lupin | Lyra | Magnolia | Maple | Marlow | Meadow | Mistral | Nova | Oriole
    | Osprey | Pebble | Piper | Poppy | Quill | Raven | Robin | Rowan | Saffron | Sequoia
    | Sierra | Sorrel | Swift | Tamarind | Thistle | Tundra | Vesper | Willow | Wren | Zephyr"""
)
SERIES = phrases(
    """Air | Atlas | Classic | Duo | Edition | Home | Line | Loft | Mini | Nord | One | Origin
    | Plus | Prime | Select | Studio | Tide | Vista"""
)

CATALOG_SCHEMA = pa.schema(
    [
        pa.field("product_id", pa.string()),
        pa.field("title", pa.string()),
        pa.field("category", pa.string()),
        pa.field("attributes", ATTRIBUTES),
        pa.field("description", pa.string()),
        pa.field("updated_at", TIMESTAMP),
    ]
)


@dataclass(frozen=True, slots=True)
class Product:
    product_id: str
    name: str
    kind: Kind
    facts: dict[str, str]
    """Values of its features, by key; not every feature has one."""
    article_number: str
    updated_at: datetime
    description: str | None

    @property
    def attributes(self) -> list[dict[str, str | None]]:
        """Name and type, the facts, and an article number that no text mentions."""
        given = {
            "name": self.name,
            "type": self.kind.name,
            **self.facts,
            "article number": self.article_number,
        }
        return [{"key": key, "value": value} for key, value in given.items()]


def iter_products(num_products: int, seed: int) -> Iterator[Product]:
    """Yields one product at a time; holds one."""
    for start in range(0, num_products, CHUNK_ROWS):
        rng = random.Random(f"catalog {seed} {start}")
        for index in range(start, min(start + CHUNK_ROWS, num_products)):
            yield _product(index, rng)


def iter_catalog_tables(num_products: int, seed: int) -> Iterator[pa.Table]:
    """The catalogue in tables of bounded size."""
    products = iter_products(num_products, seed)
    while chunk := list(islice(products, CHUNK_ROWS)):
        columns = {
            "product_id": [product.product_id for product in chunk],
            "title": [product.name for product in chunk],
            "category": [product.kind.name for product in chunk],
            "attributes": [product.attributes for product in chunk],
            "description": [product.description for product in chunk],
            "updated_at": [product.updated_at for product in chunk],
        }
        yield pa.table(columns, schema=CATALOG_SCHEMA)


def _product(index: int, rng: random.Random) -> Product:
    kind = rng.choice(KINDS)
    name = _name(rng)
    facts = {
        feature.key: rng.choice(feature.values)
        for feature in kind.features
        if rng.random() < KNOWN_SHARE
    }
    description = describe(name, kind, facts, rng) if rng.random() < DESCRIBED_SHARE else None
    return Product(
        product_id=f"{kind.name}-{name.lower().replace(' ', '-')}-{index}",
        name=name,
        kind=kind,
        facts=facts,
        article_number=f"{rng.randrange(10**6):06d}-{rng.randrange(100):02d}",
        updated_at=EARLIEST_UPDATE + timedelta(minutes=rng.randrange(UPDATE_DAYS * 24 * 60)),
        description=description,
    )


def _name(rng: random.Random) -> str:
    number = str(rng.randrange(2, 100))
    ending = rng.choice(([rng.choice(SERIES)], [number], [rng.choice(SERIES), number]))
    return " ".join([rng.choice(FIRST_NAMES), *ending])
