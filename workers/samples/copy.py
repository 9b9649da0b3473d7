"""Texts of the sample shop: examples for training, and requests for texts to generate."""

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa

from workers.inputs.tables import ATTRIBUTES
from workers.samples.catalog import Product
from workers.samples.grammar import (
    ASK,
    DELIVERY,
    GOODBYE,
    GREETING,
    SOLD_OUT,
    deny_match,
    state_facts,
)

INTENT_WEIGHTS = {
    "inform": 55,
    "recommend": 30,
    "sold_out": 4,
    "delivery": 4,
    "no_match": 3,
    "ask": 2,
    "greet": 1,
    "goodbye": 1,
}
NUM_FACTS = (1, 2, 2, 3, 3, 3, 4, 4, 5, 6)
ASKED_KEYS = ("colour", "price", "weight")
BATCH_ROWS = 4096

EXAMPLES_SCHEMA = pa.schema(
    [
        pa.field("intent", pa.string()),
        pa.field("attributes", ATTRIBUTES),
        pa.field("reference", pa.string()),
        pa.field("product_id", pa.string()),
    ]
)
REQUESTS_SCHEMA = pa.schema(
    [
        pa.field("request_id", pa.string()),
        pa.field("intent", pa.string()),
        pa.field("attributes", ATTRIBUTES),
        pa.field("product_id", pa.string()),
    ]
)


@dataclass(frozen=True, slots=True)
class Saying:
    """What to say, and one way to say it."""

    intent: str
    attributes: Mapping[str, str | None]
    text: str
    product_id: str | None

    @property
    def pairs(self) -> list[dict[str, str | None]]:
        """The attributes as the input tables hold them."""
        return [{"key": key, "value": value} for key, value in self.attributes.items()]


def iter_sayings(
    products: Sequence[Product], num_sayings: int, rng: random.Random
) -> Iterator[Saying]:
    """Random sayings about the products; intents are drawn by `INTENT_WEIGHTS`."""
    intents, weights = list(INTENT_WEIGHTS), list(INTENT_WEIGHTS.values())
    for _ in range(num_sayings):
        intent = rng.choices(intents, weights)[0]
        yield SAY[intent](intent, rng.choice(products), rng)


def iter_example_tables(
    products: Sequence[Product], num_examples: int, seed: int
) -> Iterator[pa.Table]:
    """The table `copy_examples`, in tables of bounded size."""
    sayings = iter_sayings(products, num_examples, random.Random(f"examples {seed}"))
    for start in range(0, num_examples, BATCH_ROWS):
        chunk = [next(sayings) for _ in range(min(BATCH_ROWS, num_examples - start))]
        columns = {
            "intent": [saying.intent for saying in chunk],
            "attributes": [saying.pairs for saying in chunk],
            "reference": [saying.text for saying in chunk],
            "product_id": [saying.product_id for saying in chunk],
        }
        yield pa.table(columns, schema=EXAMPLES_SCHEMA)


def iter_request_tables(
    products: Sequence[Product], num_requests: int, seed: int
) -> Iterator[pa.Table]:
    """The table `copy_requests`, in tables of bounded size."""
    sayings = iter_sayings(products, num_requests, random.Random(f"requests {seed}"))
    for start in range(0, num_requests, BATCH_ROWS):
        chunk = [next(sayings) for _ in range(min(BATCH_ROWS, num_requests - start))]
        columns = {
            "request_id": [f"request-{start + index}" for index in range(len(chunk))],
            "intent": [saying.intent for saying in chunk],
            "attributes": [saying.pairs for saying in chunk],
            "product_id": [saying.product_id for saying in chunk],
        }
        yield pa.table(columns, schema=REQUESTS_SCHEMA)


def _about(intent: str, product: Product, rng: random.Random) -> Saying:
    # A recommendation never mentions what the product lacks.
    known = [key for key, value in product.facts.items() if intent == "inform" or value != "false"]
    keys = rng.sample(known, min(len(known), rng.choice(NUM_FACTS)))
    chosen = {key: product.facts[key] for key in keys}
    text = state_facts(intent, product.name, product.kind, chosen, rng)
    attributes = {"name": product.name, "type": product.kind.name, **chosen}
    return Saying(intent, attributes, text, product.product_id)


def _sold_out(intent: str, product: Product, rng: random.Random) -> Saying:
    text = rng.choice(SOLD_OUT).format(NAME=product.name, TYPE=product.kind.name)
    attributes = {"name": product.name, "type": product.kind.name}
    return Saying(intent, attributes, text, product.product_id)


def _delivery(intent: str, product: Product, rng: random.Random) -> Saying:
    time = f"{rng.randrange(2, 15)} days"
    text = rng.choice(DELIVERY).format(NAME=product.name, TIME=time)
    return Saying(intent, {"name": product.name, "delivery time": time}, text, product.product_id)


def _no_match(intent: str, product: Product, rng: random.Random) -> Saying:
    key = rng.choice([key for key in product.facts if product.kind.feature(key).is_verbatim])
    value = product.facts[key]
    text = deny_match(product.kind, key, value, rng)
    return Saying(intent, {"type": product.kind.name, key: value}, text, None)


def _ask(intent: str, product: Product, rng: random.Random) -> Saying:
    key = rng.choice(ASKED_KEYS)
    text = rng.choice(ASK).format(KEY=key, TYPE=product.kind.name)
    return Saying(intent, {"type": product.kind.name, key: None}, text, None)


def _greet(intent: str, product: Product, rng: random.Random) -> Saying:
    del product
    return Saying(intent, {}, rng.choice(GREETING), None)


def _goodbye(intent: str, product: Product, rng: random.Random) -> Saying:
    del product
    return Saying(intent, {}, rng.choice(GOODBYE), None)


SAY: dict[str, Callable[[str, Product, random.Random], Saying]] = {
    "inform": _about,
    "recommend": _about,
    "sold_out": _sold_out,
    "delivery": _delivery,
    "no_match": _no_match,
    "ask": _ask,
    "greet": _greet,
    "goodbye": _goodbye,
}
