"""The catalogue at the end of a day, for jobs that look up products."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property

import pyarrow as pa
import pyarrow.compute as pc

from infra.storage import Storage
from workers.inputs.reading import read_row_group
from workers.inputs.tables import ATTRIBUTES, TIMESTAMP
from workers.pins import Snapshot

COLUMNS = ("product_id", "title", "category", "attributes")


@dataclass(frozen=True)
class Catalog:
    table: pa.Table
    """`COLUMNS` of the products before the cut; attributes are never null."""

    @cached_property
    def row_of(self) -> dict[str, int]:
        return {product: row for row, product in enumerate(self.table["product_id"].to_pylist())}

    def rows(self, products: Sequence[str]) -> pa.Table:
        return self.table.take(pa.array([self.row_of[product] for product in products], pa.int64()))

    @cached_property
    def facts(self) -> dict[str, frozenset[tuple[str, str]]]:
        """By product: its attributes and its category, as (key, value) pairs."""
        columns = (self.table[name].to_pylist() for name in COLUMNS)
        facts = {}
        for product, _, category, attributes in zip(*columns, strict=True):
            pairs = [*attributes, {"key": "category", "value": category}]
            facts[product] = frozenset(_facts(pairs))
        return facts


def _facts(pairs: Iterable[Mapping[str, str | None] | None]) -> Iterator[tuple[str, str]]:
    for pair in pairs:
        if pair and pair["key"] and pair["value"]:
            yield pair["key"], pair["value"]


def read_catalog(storage: Storage, snapshot: Snapshot) -> Catalog:
    """Reads the products that have an id and a time before the cut or no time, in file order."""
    cut = pa.scalar(datetime.fromisoformat(snapshot.cut), TIMESTAMP)
    columns = [*COLUMNS, "updated_at"]
    tables = []
    for item in snapshot.objects:
        for group in range(len(item.row_groups)):
            rows = read_row_group(storage, snapshot.table, item.key, group, columns)
            is_past = pc.fill_null(pc.less(rows["updated_at"], cut), True)
            rows = rows.filter(pc.and_(is_past, pc.is_valid(rows["product_id"]))).select(COLUMNS)
            attributes = pc.fill_null(rows["attributes"], pa.scalar([], ATTRIBUTES))
            tables.append(rows.set_column(COLUMNS.index("attributes"), "attributes", attributes))
    return Catalog(pa.concat_tables(tables) if tables else pa.table({name: [] for name in COLUMNS}))
