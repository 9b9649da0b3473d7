"""What to recommend to whom on a night: the best products for each active user, and what speaks for
each.

Only the history up to the end of the night is read, and the catalogue as it was then.
"""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import date, datetime, timedelta
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch

from aigc_models.recommenders.data import Items
from aigc_models.recommenders.metrics import coverage, popularity_lift
from aigc_models.recommenders.model import Recommendation, Recommender
from aigc_models.recommenders.networks import PAD
from infra.errors import InputError
from infra.storage import Storage
from workers.inputs.catalog import Catalog, read_catalog
from workers.inputs.histories import Histories, build_histories
from workers.inputs.tables import TIMESTAMP
from workers.plans.plan import Plan
from workers.recommendations.ranked_rows import RANKED
from workers.registry.versions import find_version

USERS_AT_ONCE = 2048
RAY_FROM_EVENTS = 20_000_000
"""Histories of so many events are built by Ray Data, unless a setting says otherwise."""
EXAMPLES = 5
"""Users whose history the report shows."""
HISTORY_SHOWN = 6


class RankedItems:
    """The prepared rows of `recommendation_texts`: users by id, each one's items from the best
    on."""

    def __init__(
        self,
        open_store: Callable[[], Storage],
        plan: Plan,
        model: Recommender,
        settings: Any,
        on_progress: Callable[[float, str], None],
    ) -> None:
        assert plan.prepared is not None
        self._open_store, self._plan, self._settings, self._on_progress = (
            open_store,
            plan,
            settings,
            on_progress,
        )
        self._model = model
        self._storage = open_store()
        self._recommender_pin = plan.prepared.model
        self._ranked: list[list[str]] = []
        self._examples: list[dict[str, Any]] = []
        self._num_unguided = 0

    @cached_property
    def _catalog(self) -> Catalog:
        assert self._plan.prepared is not None
        (snapshot,) = self._plan.prepared.snapshots
        catalog = read_catalog(self._storage, snapshot)
        if not catalog.table.num_rows:
            raise InputError(
                f"no product of catalog is from before the end of {self._plan.date}: nothing to recommend"
            )
        return catalog

    @cached_property
    def _histories(self) -> Histories:
        engine = self._settings.history_engine
        if engine == "auto":
            engine = "ray" if self._plan.snapshot.num_rows >= RAY_FROM_EVENTS else "duckdb"
        self._on_progress(0, f"histories by {engine}")
        most = self._settings.max_history
        return build_histories(self._open_store, self._plan.snapshot, max_items=most, engine=engine)

    @cached_property
    def _active(self) -> pa.Table:
        """Users with an event in the last days before the cut."""
        histories, days = self._histories.table, self._settings.active_days
        if not days or not histories.num_rows:
            return histories
        since = datetime.fromisoformat(self._plan.snapshot.cut) - timedelta(days=days)
        active = histories.filter(
            pc.greater_equal(histories["newest"], pa.scalar(since, TIMESTAMP))
        )
        if not active.num_rows:
            newest = pc.max(histories["newest"]).as_py().date()
            raise InputError(
                f"no user of interactions has an event in the {days} days up to {self._plan.date}; the newest before "
                f"is of {newest}. Load newer events, or recommend to all users with --set active_days=0"
            )
        return active

    def batches(self) -> Iterator[pa.RecordBatch]:
        model = self._model.for_catalog(
            {item: frozenset(map("=".join, facts)) for item, facts in self._catalog.facts.items()}
        )
        users, items = self._active["user_id"], self._active["items"]
        for start in range(0, len(users), USERS_AT_ONCE):
            histories = items.slice(start, USERS_AT_ONCE).to_pylist()
            self._on_progress(start / len(users), f"ranking for {len(users):,} users")
            found = model.recommend(
                histories, self._settings.num_items, leave_out_seen=self._settings.leave_out_seen
            )
            batch_users = users.slice(start, USERS_AT_ONCE).to_pylist()
            self._remember(batch_users, histories, found)
            yield from self._rows(batch_users, found).to_batches()

    def _remember(
        self,
        users: Sequence[str],
        histories: Sequence[list[str]],
        found: Sequence[list[Recommendation]],
    ) -> None:
        self._ranked += [[one.item for one in ranked] for ranked in found]
        self._num_unguided += sum(bool(ranked) and ranked[0].because is None for ranked in found)
        for user, history, ranked in list(zip(users, histories, found, strict=True))[
            : EXAMPLES - len(self._examples)
        ]:
            titles = {one.item: self._title(one.item) for one in ranked}
            titles |= {one.because: self._title(one.because) for one in ranked if one.because}
            shown = [self._title(item) for item in history[-HISTORY_SHOWN:]]
            self._examples.append(
                {"user_id": user, "history": shown, "titles": titles, "num_items": len(history)}
            )

    def _title(self, item: str) -> str:
        if item not in self._catalog.row_of:
            return item
        return self._catalog.table["title"][self._catalog.row_of[item]].as_py() or item

    def _rows(self, users: Sequence[str], found: Sequence[list[Recommendation]]) -> pa.Table:
        triples = [
            (user, rank, one)
            for user, ranked in zip(users, found, strict=True)
            for rank, one in enumerate(ranked, 1)
        ]
        products = self._catalog.rows([one.item for _, _, one in triples])
        night = date.fromisoformat(self._plan.date).toordinal()
        columns = {
            "recommendation_id": [_identity(user, one.item) for user, _, one in triples],
            "user_id": [user for user, _, _ in triples],
            "rank": [rank for _, rank, _ in triples],
            "item_id": [one.item for _, _, one in triples],
            "score": [one.score for _, _, one in triples],
            "because_item_id": [one.because for _, _, one in triples],
            "title": products["title"],
            "category": products["category"],
            "attributes": products["attributes"],
            "shared": [self._shared(one) for _, _, one in triples],
            "night": [night] * len(triples),
        }
        return pa.table(columns, schema=RANKED).combine_chunks()

    def _shared(self, one: Recommendation) -> list[str]:
        facts = self._catalog.facts
        return sorted(
            {key for key, _ in facts[one.item] & facts.get(one.because or "", frozenset())}
        )

    def summary(self) -> Mapping[str, Any]:
        return {"counts": self._counts(), "quality": self._quality()}

    def examples(self) -> list[dict[str, Any]]:
        return self._examples

    def _counts(self) -> dict[str, int]:
        table, catalog, most = self._histories.table, self._catalog, self._settings.max_history
        num_known = sum(item in self._model.items.token_of for item in catalog.row_of)
        taken = pc.list_flatten(table["items"]).value_counts()
        foreign = [pair for pair in taken.to_pylist() if pair["values"] not in catalog.row_of]
        days = (
            f"with an event in the last {self._settings.active_days} days"
            if self._settings.active_days
            else "all"
        )
        return {
            "users in the interactions": table.num_rows,
            f"users recommended to ({days})": self._active.num_rows,
            "users with one event": int(pc.sum(pc.equal(table["num_events"], 1)).as_py() or 0),
            f"users of whom only the newest {most:,} events count": int(
                pc.sum(
                    pc.greater(pc.subtract(table["num_events"], table["num_repeated"]), most)
                ).as_py()
                or 0
            ),
            "users of whom nothing known is read: they get what is popular": self._num_unguided,
            "events up to the date": self._histories.total("num_events"),
            "events that were there twice, counted once": self._histories.total("num_repeated"),
            "events after the date, left out": self._histories.num_future,
            "items that the catalogue lacks: read, never recommended": len(foreign),
            "events of such items": sum(pair["counts"] for pair in foreign),
            "products of the catalogue": catalog.table.num_rows,
            "products without events, found by their attributes": catalog.table.num_rows
            - num_known,
        }

    def _quality(self) -> dict[str, float]:
        version = find_version(
            self._storage, self._recommender_pin.name, self._recommender_pin.version
        )
        figures = {name: version.metrics[name] for name in ("ndcg_10", "hr_10")}
        if not any(self._ranked):
            return figures
        taken = self._histories.table["items"]
        known = pc.list_flatten(taken).unique().to_pylist()
        items = Items(tuple(sorted({*known, *self._catalog.row_of})))
        widest = max(map(len, self._ranked))
        ranked_BK = torch.tensor(
            [items.tokens(row) + [PAD] * (widest - len(row)) for row in self._ranked]
        )
        counts_V = np.bincount(
            items.tokens(pc.list_flatten(taken).to_pylist()), minlength=items.vocab_size
        )
        active = [
            np.asarray(items.tokens(history), np.int64)
            for history in self._active["items"].to_pylist()
        ]
        return {
            **figures,
            "coverage": coverage(ranked_BK, self._catalog.table.num_rows),
            "popularity_lift": popularity_lift(ranked_BK, active, counts_V),
        }


def _identity(user: str, item: str) -> str:
    """Names a row in logs and files of rows set aside, and tells nobody the user."""
    return hashlib.blake2b(f"{user}\x1f{item}".encode(), digest_size=8).hexdigest()
