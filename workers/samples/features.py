"""A kind of product and its features: which values there are, and how English states them.

Phrases hold `{}` where the value is repeated as it is. A noun phrase stands after "with", a verb
phrase after "it".
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
    """How to say that the value is `false`; there are none where it never is."""
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
    """Alternatives, written with bars between them."""
    return tuple(part.strip() for part in text.split("|"))


def choice(key: str, values: str, *, nouns: str, verbs: str) -> Feature:
    """One of several names."""
    return Feature(key=key, values=phrases(values), nouns=phrases(nouns), verbs=phrases(verbs))


def quantity(
    key: str, numbers: tuple[str, str, str], unit: str, *, nouns: str, verbs: str
) -> Feature:
    """A number with its unit; `numbers` are the least, the greatest and the step, as they are to be
    written."""
    low, high, step = (Decimal(number) for number in numbers)
    values = tuple(f"{low + step * index} {unit}" for index in range(int((high - low) / step) + 1))
    return Feature(key=key, values=values, nouns=phrases(nouns), verbs=phrases(verbs))


def flag(key: str, *, nouns: str, verbs: str, denied_nouns: str, denied_verbs: str) -> Feature:
    """True or false."""
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
