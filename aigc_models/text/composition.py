"""Descriptions of products that have more facts than one sentence can hold.

The row seed chooses and groups the facts; each group becomes one act. The first sentence names the
product; later ones refer to it without a name if training texts do so. All sentences of all
products are generated together. Does not import torch: jobs have a `Composition` among their
settings.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from aigc_models.rounding import ceil_div
from aigc_models.seeds import derive_seed
from aigc_models.text.language.acts import Attributes, TextRequest
from aigc_models.text.language.schema import Schema
from aigc_models.text.sampling import Sampling

if TYPE_CHECKING:
    from aigc_models.text.model import GeneratedText, TextModel

MIN_CONTINUED = 50
"""Training sentences that a model needs to learn how a sentence continues without naming its
subject."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Composition:
    num_facts: int = 6
    """Facts of a description beside name and kind; 0: all that the model can state."""
    facts_per_sentence: int = 3
    keep_order: bool = False
    """Take the first facts in the given order, instead of a random choice by the row seed."""

    def __post_init__(self) -> None:
        if self.num_facts < 0:
            raise ValueError(f"num_facts must not be negative, it is {self.num_facts}")
        if self.facts_per_sentence < 1:
            raise ValueError(
                f"facts_per_sentence must be at least 1, not {self.facts_per_sentence}"
            )


def compose(
    model: "TextModel",
    products: Sequence[TextRequest],
    row_seeds: Sequence[int],
    sampling: Sampling,
    composition: Composition,
) -> "list[GeneratedText]":
    """One description per product. Facts whose key or value training never saw are left out."""
    if len(products) != len(row_seeds):
        raise ValueError(f"{len(products)} products but {len(row_seeds)} row seeds")
    plans: list[list[TextRequest]] = []
    requests: list[TextRequest] = []
    seeds: list[int] = []
    for product, row_seed in zip(products, row_seeds, strict=True):
        plan = plan_sentences(model.schema, product, row_seed, composition)
        plans.append(plan)
        requests += plan
        seeds += [derive_seed(row_seed, i) for i in range(len(plan))]
    sentences = iter(model.generate(requests, seeds, sampling))
    return [join_sentences([next(sentences) for _ in plan]) for plan in plans]


def plan_sentences(
    schema: Schema, product: TextRequest, row_seed: int, composition: Composition
) -> list[TextRequest]:
    """The acts of a product's description, at least one."""
    use = schema.intents.get(product.intent)
    head_keys = use.head_keys if use else ()
    stateable = [
        (key, value)
        for key, value in product.attributes
        if schema.can_state(product.intent, key, value)
    ]
    if len({key for key, _ in stateable}) < len(stateable):
        # A repeated key means several products, whose attributes must stay together.
        return [TextRequest(product.intent, tuple(stateable))]
    head = tuple(pair for pair in stateable if pair[0] in head_keys)
    facts = [pair for pair in stateable if pair[0] not in head_keys]
    num_facts = min(composition.num_facts or len(facts), len(facts))
    if not composition.keep_order:
        facts = random.Random(row_seed).sample(facts, num_facts)
    can_continue = use is not None and use.num_continued >= MIN_CONTINUED and bool(head)
    max_first = max_later = composition.facts_per_sentence
    if use is not None and can_continue:
        max_later = max(1, min(max_later, use.continued_facts))
    groups = group_evenly(facts[:num_facts], max_first, max_later)
    first = TextRequest(product.intent, head + groups[0])
    later = [
        TextRequest(product.intent, group if can_continue else head + group, continued=can_continue)
        for group in groups[1:]
    ]
    return [first, *later]


def group_evenly(
    facts: Sequence[tuple[str, str | None]], max_first: int, max_later: int
) -> list[Attributes]:
    """As few groups as the limits allow, and of about equal size, so that the last sentence is not
    left with a single fact."""
    num_later = ceil_div(max(0, len(facts) - max_first), max_later)
    even_size = ceil_div(len(facts), num_later + 1)
    # The first group may have to be larger, since later ones hold fewer.
    least_size = len(facts) - num_later * max_later
    first_size = max(even_size, least_size)
    groups = [tuple(facts[:first_size])]
    rest = facts[first_size:]
    for num_left in range(num_later, 0, -1):
        size = ceil_div(len(rest), num_left)
        groups.append(tuple(rest[:size]))
        rest = rest[size:]
    return groups


def join_sentences(sentences: "Sequence[GeneratedText]") -> "GeneratedText":
    """One text with the problems of all its sentences."""
    problems = [problem for sentence in sentences for problem in sentence.problems]
    return replace(
        sentences[0],
        text=" ".join(sentence.text for sentence in sentences),
        log_probability=sum(sentence.log_probability for sentence in sentences),
        problems=tuple(dict.fromkeys(problems)),
        num_candidates=min(sentence.num_candidates for sentence in sentences),
        num_faithful=min(sentence.num_faithful for sentence in sentences),
    )
