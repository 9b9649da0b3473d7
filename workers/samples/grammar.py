"""A small grammar of shop English. A text states each of its facts exactly once, and no others.

`{NAME}` and `{TYPE}` are the product; `{NOUNS}` and `{VERBS}` enumerate facts. The first sentence
of a text names the product; further sentences call it "it".
"""

import math
import random
import re
from collections.abc import Mapping, Sequence

from workers.samples.features import Feature, Kind, phrases, series

INFORM = phrases(
    """The {NAME} is a {TYPE} with {NOUNS}. | The {NAME} is a {TYPE} that {VERBS}.
    | The {NAME} {TYPE} {VERBS}. | The {NAME} {TYPE} comes with {NOUNS}.
    | This {TYPE} is called the {NAME}: it {VERBS}. | Meet the {NAME}, a {TYPE} with {NOUNS}.
    | Meet the {NAME}, a {TYPE} that {VERBS}. | With {NOUNS}, the {NAME} is a {TYPE} to rely on.
    | Here is the {NAME}, a {TYPE} with {NOUNS}. | A {TYPE} with {NOUNS}: that is the {NAME}.
    | The {TYPE} named {NAME} {VERBS}."""
)
RECOMMEND = phrases(
    """If you want a {TYPE} with {NOUNS}, take the {NAME}.
    | I would recommend the {NAME}, a {TYPE} that {VERBS}.
    | For a {TYPE} with {NOUNS}, look no further than the {NAME}.
    | You might like the {NAME}: it is a {TYPE} that {VERBS}.
    | The {NAME} is a lovely {TYPE} that {VERBS}. | The {NAME} is a great {TYPE} with {NOUNS}.
    | How about the {NAME}? This {TYPE} {VERBS}.
    | Our tip for you is the {NAME}, a {TYPE} with {NOUNS}.
    | You would be happy with the {NAME}, a {TYPE} that {VERBS}."""
)
CONTINUE = phrases(
    """It {VERBS}. | On top of that, it {VERBS}. | It comes with {NOUNS}. | It has {NOUNS}.
    | What is more, it {VERBS}. | Besides, it {VERBS}. | Expect {NOUNS}."""
)
OPENINGS: Mapping[str, Sequence[str]] = {"inform": INFORM, "recommend": RECOMMEND}
ARTICLE_BEFORE_VOWEL = re.compile(r"\b([Aa])(?= [aeiou])")
MAX_FACTS_PER_SENTENCE = 3
SPLIT_SHARE = 0.3
"""How often facts that fit into one sentence are split into two."""

SOLD_OUT = phrases(
    """Sorry, the {NAME} {TYPE} is sold out.
    | The {NAME} is out of stock, but there are other ways to find a {TYPE}.
    | I am afraid that the {NAME} is gone; shall I look for another {TYPE}?"""
)
DELIVERY = phrases(
    """Your {NAME} will be with you in {TIME}. | The {NAME} is on its way and arrives in {TIME}.
    | Please allow {TIME} for the delivery of the {NAME}."""
)
NO_MATCH = phrases(
    """Sorry, we have no {TYPE} with {NOUNS}. | There is no {TYPE} with {NOUNS} in our shop.
    | I could not find a {TYPE} with {NOUNS}."""
)
ASK = phrases(
    """Which {KEY} should the {TYPE} have? | What {KEY} do you have in mind for your {TYPE}?
    | Do you have a {KEY} in mind for the {TYPE}?"""
)
GREETING = phrases(
    """Hello, how may I help you? | Welcome to our shop! What are you looking for?
    | Good to see you, what can I do for you?"""
)
GOODBYE = phrases(
    """Thank you and goodbye! | Thanks for your visit, see you soon.
    | Goodbye, and enjoy your day."""
)


def state_facts(
    intent: str,
    name: str,
    kind: Kind,
    facts: Mapping[str, str],
    rng: random.Random,
    *,
    num_sentences: int | None = None,
) -> str:
    """A text that introduces the product and states at least one fact, in the order given."""
    items = list(facts.items())
    if num_sentences is None:
        is_long = len(items) > MAX_FACTS_PER_SENTENCE
        num_sentences = 2 if is_long or (len(items) > 1 and rng.random() < SPLIT_SHARE) else 1
    size = math.ceil(len(items) / num_sentences)
    groups = [items[start : start + size] for start in range(0, len(items), size)]
    patterns = [rng.choice(OPENINGS[intent]), *rng.sample(CONTINUE, len(groups) - 1)]
    sentences = [
        _sentence(pattern, name, kind, dict(group), rng)
        for pattern, group in zip(patterns, groups, strict=True)
    ]
    return " ".join(sentences)


def describe(name: str, kind: Kind, facts: Mapping[str, str], rng: random.Random) -> str:
    """A description of two or three sentences that states facts by repeating their values."""
    verbatim = [key for key in facts if kind.feature(key).is_verbatim]
    keys = rng.sample(verbatim, min(len(verbatim), rng.choice((4, 5, 6))))
    chosen = {key: facts[key] for key in keys}
    num_sentences = max(1, math.ceil(len(chosen) / MAX_FACTS_PER_SENTENCE))
    return state_facts("inform", name, kind, chosen, rng, num_sentences=num_sentences)


def deny_match(kind: Kind, key: str, value: str, rng: random.Random) -> str:
    """A reply that no product of the kind has this feature."""
    return _sentence(rng.choice(NO_MATCH), "", kind, {key: value}, rng)


def _sentence(
    pattern: str, name: str, kind: Kind, facts: Mapping[str, str], rng: random.Random
) -> str:
    features: list[tuple[Feature, str]] = [
        (kind.feature(key), value) for key, value in facts.items()
    ]
    if "{NOUNS}" in pattern:
        stated = series([feature.noun(value, rng) for feature, value in features])
    else:
        stated = series([feature.verb(value, rng) for feature, value in features])
    sentence = pattern.format(NAME=name, TYPE=kind.name, NOUNS=stated, VERBS=stated)
    return ARTICLE_BEFORE_VOWEL.sub(r"\1n", sentence)
