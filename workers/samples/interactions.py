"""Simulated purchases: customers have tastes, some products are best sellers, and some are often
bought after others."""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from itertools import accumulate

import pyarrow as pa

from workers.inputs.tables import TIMESTAMP
from workers.samples.catalog import Product

LAST_DAY = date(2026, 10, 30)
NUM_DAYS = 60
MEAN_PURCHASES = 8
MAX_PURCHASES = 40
NUM_FOLLOWERS = 3
"""Products that are often bought after a given one."""
FOLLOWING_SHARE = 0.55
"""Share of purchases that follow the previous one."""
ROAMING_SHARE = 0.1
"""Share of purchases outside a customer's tastes."""
BATCH_ROWS = 65536

INTERACTIONS_SCHEMA = pa.schema(
    [
        pa.field("user_id", pa.string()),
        pa.field("item_id", pa.string()),
        pa.field("event_time", TIMESTAMP),
        pa.field("event_type", pa.string()),
    ]
)


@dataclass(frozen=True, slots=True)
class Shop:
    items: dict[str, list[int]]
    """By kind, best sellers first."""
    cumulative_weights: dict[str, list[float]]
    """By kind, for each of its items."""
    followers: list[tuple[int, ...]]
    """For each item, the items that are often bought after it."""

    def pick(self, kind: str, rng: random.Random) -> int:
        """A random item of the kind; best sellers are more likely."""
        return rng.choices(self.items[kind], cum_weights=self.cumulative_weights[kind])[0]


def iter_interaction_tables(
    products: Sequence[Product], num_interactions: int, seed: int, last_day: date = LAST_DAY
) -> Iterator[pa.Table]:
    """The table `interactions` in the order of event time, for `NUM_DAYS` days up to `last_day`.

    No customer buys the same product twice.
    """
    rng = random.Random(f"interactions {seed}")
    shop = _furnish(products, rng)
    kinds = sorted(shop.items)
    events: list[tuple[int, int, int]] = []
    user = 0
    while len(events) < num_interactions:
        history = _history(user, shop, rng.sample(kinds, min(2, len(kinds))), rng)
        events += history[: num_interactions - len(events)]
        user += 1
    events.sort()
    for start in range(0, len(events), BATCH_ROWS):
        yield _table(events[start : start + BATCH_ROWS], products, last_day)


def _table(
    events: Sequence[tuple[int, int, int]], products: Sequence[Product], last_day: date
) -> pa.Table:
    began = datetime.combine(last_day - timedelta(days=NUM_DAYS - 1), time(), UTC)
    columns = {
        "user_id": [f"user-{user}" for _, user, _ in events],
        "item_id": [products[item].product_id for _, _, item in events],
        "event_time": [began + timedelta(seconds=second) for second, _, _ in events],
        "event_type": ["purchase"] * len(events),
    }
    return pa.table(columns, schema=INTERACTIONS_SCHEMA)


def _furnish(products: Sequence[Product], rng: random.Random) -> Shop:
    items: dict[str, list[int]] = {}
    for index, product in enumerate(products):
        items.setdefault(product.kind.name, []).append(index)
    for shelf in items.values():
        rng.shuffle(shelf)
    kinds = sorted(items)
    followers = []
    for product in products:
        item_followers = []
        for _ in range(NUM_FOLLOWERS):
            kind = rng.choice((product.kind.name, rng.choice(kinds)))
            item_followers.append(rng.choice(items[kind]))
        followers.append(tuple(item_followers))
    cumulative_weights = {
        kind: list(accumulate(1 / rank for rank in range(1, len(shelf) + 1)))
        for kind, shelf in items.items()
    }
    return Shop(items, cumulative_weights, followers)


def _history(
    user: int, shop: Shop, tastes: Sequence[str], rng: random.Random
) -> list[tuple[int, int, int]]:
    """One customer's purchases: second since the first day, user, item."""
    num_purchases = min(MAX_PURCHASES, 1 + int(rng.expovariate(1 / MEAN_PURCHASES)))
    bought: list[int] = []
    for _ in range(num_purchases):
        item = _next_item(bought, shop, tastes, rng)
        if item not in bought:
            bought.append(item)
    seconds = sorted(rng.sample(range(NUM_DAYS * 24 * 3600), len(bought)))
    return [(second, user, item) for second, item in zip(seconds, bought, strict=True)]


def _next_item(bought: Sequence[int], shop: Shop, tastes: Sequence[str], rng: random.Random) -> int:
    chance = rng.random()
    if bought and chance < FOLLOWING_SHARE:
        return rng.choice(shop.followers[bought[-1]])
    if chance > 1 - ROAMING_SHARE:
        return shop.pick(rng.choice(sorted(shop.items)), rng)
    return shop.pick(rng.choice(tastes), rng)
