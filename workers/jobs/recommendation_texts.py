"""Products to recommend to every active user, with a text for each that states only facts."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import pyarrow as pa

from aigc_models.seeds import derive_seed
from aigc_models.text.composition import Composition, compose
from aigc_models.text.fact_choice import choose_facts
from aigc_models.text.language.acts import TextRequest
from infra.errors import InputError
from infra.storage import Storage
from workers.job import Job, OnPrepared, Preparation, Preparer
from workers.pins import Order
from workers.plans.plan import Plan
from workers.quality.gates import Gate, Quality
from workers.quality.texts import TextMeter
from workers.recommendations.ranked_rows import RANKED
from workers.text_rows import (
    TEXT_OUTPUT,
    TextSettings,
    product_attributes,
    text_columns,
    text_requests,
)

if TYPE_CHECKING:
    from aigc_models.text.model import TextModel


@dataclass(frozen=True, slots=True, kw_only=True)
class RecommendationSettings(TextSettings):
    num_items: int = 3
    """Products recommended to each user."""
    active_days: int = 30
    """Recommend only to users with an event in the last `active_days` days; 0: to all users."""
    leave_out_seen: bool = True
    """Never recommend products that a user already has."""
    max_history: int = 10_000
    """Newest events of a user to consider."""
    num_facts: int = 3
    """Facts in a text, besides the product's name and type."""
    facts_per_sentence: int = 3
    intent: str = "recommend"
    """Intent of the texts; the model must have learned it."""
    repeat_sentences: bool = False
    """Allow the same sentence about a product for the same user every night."""
    history_engine: Literal["auto", "duckdb", "ray"] = "auto"
    """Groups events by user: DuckDB on one machine or Ray Data on a cluster; auto: chosen by the
    number of events."""

    def __post_init__(self) -> None:
        TextSettings.__post_init__(self)
        if self.num_items < 1 or self.max_history < 1 or self.num_facts < 1:
            raise ValueError("num_items, max_history and num_facts must be at least 1")
        if self.active_days < 0:
            raise ValueError("active_days must be at least 0")
        self.composition()

    def composition(self) -> Composition:
        return Composition(num_facts=0, facts_per_sentence=self.facts_per_sentence, keep_order=True)


def generate(
    model: "TextModel", batch: pa.Table, row_seeds: Sequence[int], settings: RecommendationSettings
) -> pa.Table:
    """Writes a text for each row; facts and seed change every night unless repeats are allowed."""
    intent, num_facts = settings.intent, settings.num_facts
    if intent not in model.schema.intents:
        raise InputError(
            f"the copywriter has not learned the intent {intent!r}: add such rows to "
            "copy_examples and retrain it, or choose one of "
            f"{', '.join(model.schema.intents)} with --set intent=…"
        )
    nights = [0] * batch.num_rows if settings.repeat_sentences else batch["night"].to_pylist()
    requests = []
    for pairs, shared, seed, night in zip(
        product_attributes(batch), batch["shared"].to_pylist(), row_seeds, nights, strict=True
    ):
        (product,) = text_requests([intent], [pairs])
        facts = choose_facts(
            model.schema, intent, product.attributes, shared, num_facts, seed, night
        )
        requests.append(TextRequest(intent, facts))
    seeds = [derive_seed(seed, night) for seed, night in zip(row_seeds, nights, strict=True)]
    texts = compose(model, requests, seeds, settings.sampling(), settings.composition())
    kept = {name: batch[name] for name in RECOMMENDED.names}
    return pa.table(kept | text_columns(texts))


def rank(
    open_store: Callable[[], Storage],
    plan: Plan,
    model: Any,
    settings: Any,
    on_progress: OnPrepared,
) -> Preparer:
    """Starts the preparation of the rows to recommend."""
    from workers.recommendations.ranking import RankedItems

    return RankedItems(open_store, plan, model, settings, on_progress)


class RecommendationMeter(TextMeter):
    """The figures of `TextMeter`, and the figures of the ranking from the preparation."""

    def quality(self, orders: Sequence[Order], summary: Mapping[str, Any]) -> Quality:
        return {**super().quality(orders, summary), **summary["quality"]}


RECOMMENDED = pa.schema(
    [
        RANKED.field(name)
        for name in ("recommendation_id", "user_id", "rank", "item_id", "score", "because_item_id")
    ]
)
JOB = Job(
    name="recommendation_texts",
    version=5,
    table="interactions",
    id_column="recommendation_id",
    columns=tuple(RANKED.names),
    model="copywriter",
    settings=RecommendationSettings,
    output=pa.schema([*RECOMMENDED, *TEXT_OUTPUT]),
    generate=generate,
    meter=RecommendationMeter,
    gates=(
        Gate("passed_share", "min", 0.8),
        # in a small shop, many users may get the same sentence on the same night
        Gate("duplicate_share", "rise", 0.2),
        Gate("distinct_2", "min", 0.002),
        Gate("distinct_2", "drop", 0.5),
        Gate("mean_length", "drift", 0.5),
        Gate("ndcg_10", "drop", 0.3),
        Gate("hr_10", "drop", 0.3),
        Gate("coverage", "drop", 0.5),
        Gate("popularity_lift", "rise", 1.0),
    ),
    preparation=Preparation(tables=("catalog",), model="recommender", schema=RANKED, start=rank),
)
