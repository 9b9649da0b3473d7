"""Kinds of product and their features: the possible values, and phrases that state them.

Phrases repeat the value at `{}`. A noun phrase follows "with"; a verb phrase follows "it".
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class Feature:
    key: str
    values: tuple[str, ...]
    nouns: tuple[str, ...]
    verbs: tuple[str, ...]
    denied_nouns: tuple[str, ...] = ()
    """Phrases for the value `false`; empty for a feature that cannot be false."""
    denied_verbs: tuple[str, ...] = ()

    @property
    def is_verbatim(self) -> bool:
        """Whether texts repeat the value."""
        return not self.denied_verbs

    def noun(self, value: str, rng: random.Random) -> str:
        """A noun phrase that states the value."""
        return rng.choice(self.denied_nouns if value == "false" else self.nouns).format(value)

    def verb(self, value: str, rng: random.Random) -> str:
        """A verb phrase that states the value."""
        return rng.choice(self.denied_verbs if value == "false" else self.verbs).format(value)


@dataclass(frozen=True, slots=True)
class Kind:
    name: str
    features: tuple[Feature, ...]

    def feature(self, key: str) -> Feature:
        """The feature of that key."""
        return next(feature for feature in self.features if feature.key == key)


def phrases(text: str) -> tuple[str, ...]:
    """Splits alternatives at bars."""
    return tuple(part.strip() for part in text.split("|"))


def choice(key: str, values: str, *, nouns: str, verbs: str) -> Feature:
    """A feature with one of several names as its value."""
    return Feature(key=key, values=phrases(values), nouns=phrases(nouns), verbs=phrases(verbs))


def quantity(
    key: str, numbers: tuple[str, str, str], unit: str, *, nouns: str, verbs: str
) -> Feature:
    """A feature with a number and a unit; `numbers` are the minimum, maximum and step as text."""
    low, high, step = (Decimal(number) for number in numbers)
    values = tuple(f"{low + step * index} {unit}" for index in range(int((high - low) / step) + 1))
    return Feature(key=key, values=values, nouns=phrases(nouns), verbs=phrases(verbs))


def flag(key: str, *, nouns: str, verbs: str, denied_nouns: str, denied_verbs: str) -> Feature:
    """A feature that is true or false."""
    return Feature(
        key=key,
        values=("true", "false"),
        nouns=phrases(nouns),
        verbs=phrases(verbs),
        denied_nouns=phrases(denied_nouns),
        denied_verbs=phrases(denied_verbs),
    )


def series(items: Sequence[str]) -> str:
    """An English enumeration: a, b and c."""
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} and {items[-1]}"
