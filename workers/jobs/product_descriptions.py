"""A description of every product in the catalogue: one or more sentences that state only facts."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyarrow as pa

from aigc_models.text.composition import Composition, compose
from workers.job import Job
from workers.quality.texts import TEXT_GATES, TextMeter
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
class DescriptionSettings(TextSettings):
    num_facts: int = 6
    """Facts in a description, besides the product's name and type; 0: all that the model can
    state."""
    facts_per_sentence: int = 3

    def __post_init__(self) -> None:
        TextSettings.__post_init__(self)
        self.composition()

    def composition(self) -> Composition:
        return Composition(num_facts=self.num_facts, facts_per_sentence=self.facts_per_sentence)


def generate(
    model: "TextModel", batch: pa.Table, row_seeds: Sequence[int], settings: DescriptionSettings
) -> pa.Table:
    """Chooses and groups facts by the row's seed, then writes a sentence for each group."""
    products = text_requests(["inform"] * batch.num_rows, product_attributes(batch))
    texts = compose(model, products, row_seeds, settings.sampling(), settings.composition())
    return pa.table(
        {"product_id": batch["product_id"], "title": batch["title"], **text_columns(texts)}
    )


JOB = Job(
    name="product_descriptions",
    version=5,
    table="catalog",
    id_column="product_id",
    columns=("product_id", "title", "category", "attributes"),
    model="copywriter",
    settings=DescriptionSettings,
    output=pa.schema(
        [
            pa.field("product_id", pa.string(), nullable=False),
            pa.field("title", pa.string()),
            *TEXT_OUTPUT,
        ]
    ),
    generate=generate,
    meter=TextMeter,
    gates=TEXT_GATES,
)
