"""Descriptions of products that have more facts than one sentence can hold.

Facts are chosen and grouped from the row seed; each group becomes one act. The first sentence names
the product, later ones go on about it where the training texts do such a thing. All sentences of
all products are generated together. Needs no torch: jobs have a `Composition` among their settings.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from aigc_models.seeds import derive_seed
from aigc_models.text.language.acts import Attributes, TextRequest
from aigc_models.text.language.schema import Schema
from aigc_models.text.sampling import Sampling

if TYPE_CHECKING:
    from aigc_models.text.model import GeneratedText, TextModel

MIN_CONTINUED = 50
"""Training sentences from which on the model can be trusted to go on about a subject without naming
it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Composition:
    num_facts: int = 6
    """Facts that a description states beside name and kind; 0: all that the model can state."""
    facts_per_sentence: int = 3
    keep_order: bool = False
    """Take the first facts in the order given instead of a choice of the row seed."""

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
    """One description per product. Facts of keys or values that training never saw are left out,
    never demanded."""
    if len(products) != len(row_seeds):
        raise ValueError(f"{len(products)} products but {len(row_seeds)} row seeds")
    plans = [
        plan_sentences(model.schema, product, seed, composition)
        for product, seed in zip(products, row_seeds, strict=True)
    ]
    requests = [request for plan in plans for request in plan]
    seeds = [
        derive_seed(seed, i)
        for seed, plan in zip(row_seeds, plans, strict=True)
        for i in range(len(plan))
    ]
    sentences = iter(model.generate(requests, seeds, sampling))
    return [joined([next(sentences) for _ in plan]) for plan in plans]


def plan_sentences(
    schema: Schema, product: TextRequest, row_seed: int, composition: Composition
) -> list[TextRequest]:
    """The acts of a product's description, at least one; attributes that speak of several products
    stay together."""
    use = schema.intents.get(product.intent)
    head_keys = use.head_keys if use else ()
    stateable = [
        (key, value)
        for key, value in product.attributes
        if schema.can_state(product.intent, key, value)
    ]
    if len({key for key, _ in stateable}) < len(stateable):
        return [TextRequest(product.intent, tuple(stateable))]
    head = tuple(pair for pair in stateable if pair[0] in head_keys)
    facts = [pair for pair in stateable if pair[0] not in head_keys]
    num_facts = min(composition.num_facts or len(facts), len(facts))
    if not composition.keep_order:
        facts = random.Random(row_seed).sample(facts, num_facts)
    can_continue = use is not None and use.num_continued >= MIN_CONTINUED and bool(head)
    most_later = composition.facts_per_sentence
    if use is not None and can_continue:
        most_later = max(1, min(most_later, use.continued_facts))
    groups = grouped(facts[:num_facts], composition.facts_per_sentence, most_later)
    first = TextRequest(product.intent, head + groups[0])
    later = [
        TextRequest(product.intent, group if can_continue else head + group, continued=can_continue)
        for group in groups[1:]
    ]
    return [first, *later]


def grouped(
    facts: Sequence[tuple[str, str | None]], most_first: int, most_later: int
) -> list[Attributes]:
    """As few groups as the limits allow, of about equal size, so that no sentence is left with a
    lone fact."""
    num_later = -(-max(0, len(facts) - most_first) // most_later)
    first = max(-(-len(facts) // (num_later + 1)), len(facts) - most_later * num_later)
    rest = len(facts) - first
    sizes = [first, *(rest // num_later + (i < rest % num_later) for i in range(num_later))]
    starts = [sum(sizes[:i]) for i in range(len(sizes))]
    return [tuple(facts[start : start + size]) for start, size in zip(starts, sizes, strict=True)]


def joined(sentences: "Sequence[GeneratedText]") -> "GeneratedText":
    problems = tuple(
        dict.fromkeys(problem for sentence in sentences for problem in sentence.problems)
    )
    return replace(
        sentences[0],
        text=" ".join(sentence.text for sentence in sentences),
        log_probability=sum(sentence.log_probability for sentence in sentences),
        problems=problems,
        num_candidates=min(sentence.num_candidates for sentence in sentences),
        num_faithful=min(sentence.num_faithful for sentence in sentences),
    )
