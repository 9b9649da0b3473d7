"""Ranks products for each active user of a night, with the item and the facts behind each choice.

Reads only histories and catalogue rows up to the end of the night.
"""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import date, datetime, timedelta
from functools import cached_property
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from aigc_models.recommenders.model import Recommendation, Recommender
from infra.errors import InputError
from infra.storage import Storage
from workers.inputs.catalog import Catalog, read_catalog
from workers.inputs.histories import Engine, Histories, build_histories
from workers.inputs.tables import TIMESTAMP
from workers.job import OnPrepared
from workers.plans.plan import Plan
from workers.recommendations.figures import count_inputs, measure_ranking
from workers.recommendations.ranked_rows import RANKED
from workers.registry.versions import find_version

USERS_AT_ONCE = 2048
RAY_FROM_EVENTS = 20_000_000
"""From this number of events, Ray Data builds the histories unless a setting says otherwise."""
EXAMPLES = 5
"""Users whose history the report shows."""
HISTORY_SHOWN = 6
PRODUCT_COLUMNS = ("title", "category", "attributes")
"""Columns of `RANKED` that are copied from the catalogue."""


class RankedItems:
    """The prepared rows of `recommendation_texts`: users sorted by id, each with the best items
    first."""

    def __init__(
        self,
        open_store: Callable[[], Storage],
        plan: Plan,
        model: Recommender,
        settings: Any,
        on_progress: OnPrepared,
    ) -> None:
        assert plan.prepared is not None
        self._open_store = open_store
        self._storage = open_store()
        self._plan = plan
        self._prepared = plan.prepared
        self._model = model
        self._settings = settings
        self._on_progress = on_progress
        self._ranked: list[list[str]] = []
        self._examples: list[dict[str, Any]] = []
        self._num_unguided = 0

    @cached_property
    def _catalog(self) -> Catalog:
        (snapshot,) = self._prepared.snapshots
        catalog = read_catalog(self._storage, snapshot)
        if not catalog.table.num_rows:
            raise InputError(
                f"no product of catalog is from before the end of {self._plan.date}: "
                "there is nothing to recommend"
            )
        return catalog

    @cached_property
    def _histories(self) -> Histories:
        snapshot = self._plan.snapshot
        engine: Engine = self._settings.history_engine
        if self._settings.history_engine == "auto":
            engine = "ray" if snapshot.num_rows >= RAY_FROM_EVENTS else "duckdb"
        self._on_progress(0, f"histories by {engine}")
        max_items = self._settings.max_history
        return build_histories(self._open_store, snapshot, max_items=max_items, engine=engine)

    @cached_property
    def _active(self) -> pa.Table:
        """Histories of the users with an event in the last `active_days` days before the cut."""
        histories, days = self._histories.table, self._settings.active_days
        if not days or not histories.num_rows:
            return histories
        since = datetime.fromisoformat(self._plan.snapshot.cut) - timedelta(days=days)
        is_active = pc.greater_equal(histories["newest"], pa.scalar(since, TIMESTAMP))
        active = histories.filter(is_active)
        if not active.num_rows:
            newest = pc.max(histories["newest"]).as_py().date()
            raise InputError(
                f"no user of interactions has an event in the {days} days up to "
                f"{self._plan.date}; the newest event is of {newest}. Load newer events, "
                "or recommend to all users with --set active_days=0"
            )
        return active

    def batches(self) -> Iterator[pa.RecordBatch]:
        """The rows of `RANKED`, for `USERS_AT_ONCE` users at a time."""
        attributes = {
            item: frozenset("=".join(fact) for fact in facts)
            for item, facts in self._catalog.facts.items()
        }
        model = self._model.for_catalog(attributes)
        num_items, leave_out_seen = self._settings.num_items, self._settings.leave_out_seen
        users, items = self._active["user_id"], self._active["items"]
        for start in range(0, len(users), USERS_AT_ONCE):
            self._on_progress(start / len(users), f"ranking for {len(users):,} users")
            batch_users = users.slice(start, USERS_AT_ONCE).to_pylist()
            histories = items.slice(start, USERS_AT_ONCE).to_pylist()
            ranked = model.recommend(histories, num_items, leave_out_seen=leave_out_seen)
            self._remember(batch_users, histories, ranked)
            yield from self._rows(batch_users, ranked).to_batches()

    def _remember(
        self,
        users: Sequence[str],
        histories: Sequence[list[str]],
        ranked: Sequence[list[Recommendation]],
    ) -> None:
        """Keeps what `summary` and `examples` need."""
        for user, history, items in zip(users, histories, ranked, strict=True):
            self._ranked.append([one.item for one in items])
            if items and items[0].because is None:
                self._num_unguided += 1
            if len(self._examples) < EXAMPLES:
                self._examples.append(self._example(user, history, items))

    def _example(
        self, user: str, history: Sequence[str], items: Sequence[Recommendation]
    ) -> dict[str, Any]:
        titles = {one.item: self._title(one.item) for one in items}
        titles |= {one.because: self._title(one.because) for one in items if one.because}
        shown = [self._title(item) for item in history[-HISTORY_SHOWN:]]
        return {"user_id": user, "history": shown, "titles": titles, "num_items": len(history)}

    def _title(self, item: str) -> str:
        row = self._catalog.row_of.get(item)
        if row is None:
            return item
        return self._catalog.table["title"][row].as_py() or item

    def _rows(self, users: Sequence[str], ranked: Sequence[list[Recommendation]]) -> pa.Table:
        night = date.fromisoformat(self._plan.date).toordinal()
        rows: list[dict[str, Any]] = [
            {
                "recommendation_id": _recommendation_id(user, one.item),
                "user_id": user,
                "rank": rank,
                "item_id": one.item,
                "score": one.score,
                "because_item_id": one.because,
                "shared": self._shared_keys(one),
                "night": night,
            }
            for user, items in zip(users, ranked, strict=True)
            for rank, one in enumerate(items, 1)
        ]
        products = self._catalog.rows([row["item_id"] for row in rows])
        columns = {}
        for name in RANKED.names:
            is_copied = name in PRODUCT_COLUMNS
            columns[name] = products[name] if is_copied else [row[name] for row in rows]
        return pa.table(columns, schema=RANKED).combine_chunks()

    def _shared_keys(self, one: Recommendation) -> list[str]:
        """Keys of the facts that the item shares with the item it is recommended for."""
        facts = self._catalog.facts
        shared = facts[one.item] & facts.get(one.because or "", frozenset())
        return sorted({key for key, _ in shared})

    def summary(self) -> Mapping[str, Any]:
        """`counts` of the inputs and the `quality` of the ranking, as `Prepared.summary` stores
        them."""
        known_items = self._model.items.token_of
        counts = count_inputs(
            self._histories,
            self._catalog,
            num_active=self._active.num_rows,
            num_unguided=self._num_unguided,
            num_known_products=sum(item in known_items for item in self._catalog.row_of),
            active_days=self._settings.active_days,
            max_history=self._settings.max_history,
        )
        pin = self._prepared.model
        version = find_version(self._storage, pin.name, pin.version)
        quality = {name: version.metrics[name] for name in ("ndcg_10", "hr_10")}
        histories = self._histories.table
        quality |= measure_ranking(self._ranked, self._active, histories, self._catalog)
        return {"counts": counts, "quality": quality}

    def examples(self) -> list[dict[str, Any]]:
        """A few users with their history and the titles of their recommendations."""
        return self._examples


def _recommendation_id(user: str, item: str) -> str:
    """An id for logs and rejected rows that does not reveal the user."""
    return hashlib.blake2b(f"{user}\x1f{item}".encode(), digest_size=8).hexdigest()
