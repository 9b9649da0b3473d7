"""Converts Arrow rows to text requests and texts to columns, for all jobs that write texts."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from aigc_models.text.language.acts import TextRequest
from aigc_models.text.sampling import Sampling
from workers.job import JobSettings

if TYPE_CHECKING:
    from aigc_models.text.model import GeneratedText

TEXT_OUTPUT = (
    pa.field("text", pa.string(), nullable=False),
    pa.field("passed", pa.bool_(), nullable=False),
    pa.field("checks", pa.list_(pa.string()), nullable=False),
    pa.field("log_probability", pa.float64(), nullable=False),
    pa.field("num_candidates", pa.int32(), nullable=False),
    pa.field("num_faithful", pa.int32(), nullable=False),
)
"""The columns that every text job publishes for a generated text."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TextSettings(JobSettings):
    num_candidates: int = 10
    """Texts sampled for each sentence besides the greedy one; the best faithful text is kept."""
    temperature: float = 0.5

    def __post_init__(self) -> None:
        JobSettings.__post_init__(self)
        self.sampling()

    def sampling(self) -> Sampling:
        return Sampling(num_candidates=self.num_candidates, temperature=self.temperature)


AttributeList = Sequence[Mapping[str, Any]]


def has_attributes(row: Mapping[str, Any]) -> bool:
    """Whether the row's attributes can be read; `nightshift inputs put` ensures that they can."""
    return row["attributes"] is not None and all(pair and pair["key"] for pair in row["attributes"])


def text_requests(intents: Iterable[str], attributes: Iterable[AttributeList]) -> list[TextRequest]:
    return [
        TextRequest(intent, tuple((pair["key"], pair["value"]) for pair in pairs))
        for intent, pairs in zip(intents, attributes, strict=True)
    ]


def product_attributes(batch: pa.Table) -> list[AttributeList]:
    """Each product's attributes, with title and category as fallbacks for `name` and `type`."""
    columns = (batch[name].to_pylist() for name in ("title", "category", "attributes"))
    return [with_name_and_type(*values) for values in zip(*columns, strict=True)]


def with_name_and_type(
    title: str | None, category: str | None, attributes: AttributeList
) -> AttributeList:
    """The attributes, preceded by the title as `name` and the category as `type` if missing."""
    given = {pair["key"] for pair in attributes}
    fallbacks = [
        {"key": key, "value": value}
        for key, value in (("name", title), ("type", category))
        if value and key not in given
    ]
    return [*fallbacks, *attributes]


def text_columns(texts: "Sequence[GeneratedText]") -> dict[str, pa.Array]:
    """The columns of `TEXT_OUTPUT`; a text passes if it has no problem."""
    return {
        "text": pa.array([text.text for text in texts], pa.string()),
        "passed": pa.array([not text.problems for text in texts], pa.bool_()),
        "checks": pa.array([list(text.problems) for text in texts], pa.list_(pa.string())),
        "log_probability": pa.array([text.log_probability for text in texts], pa.float64()),
        "num_candidates": pa.array([text.num_candidates for text in texts], pa.int32()),
        "num_faithful": pa.array([text.num_faithful for text in texts], pa.int32()),
    }
