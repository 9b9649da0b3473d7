"""Learns from a corpus which values its texts repeat verbatim, and which attributes they state
together.

A value that references repeat becomes a slot and is put back after generation. A value that they
hardly ever repeat (true, none, no preference) becomes a token of the act. Knows nothing about any
domain.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from aigc_models.text.language.acts import Slot, TextExample, TextRequest
from aigc_models.text.language.words import occurrences, split_words, word_forms

VERBATIM_RATE = 0.2
"""A value becomes a slot if at least this share of its references repeat it."""
RATE_PRIOR = 1.0
"""Weight, in references, of the assumption that a value is like the others of its key."""
HEAD_SHARE = 0.8
"""Head keys are those that at least this share of an intent's texts state."""


@dataclass(frozen=True, slots=True)
class Act:
    """A request in the symbols that the model reads."""

    symbols: tuple[str, ...]
    slots: tuple[tuple[Slot, str], ...]
    tokens: tuple[str, ...]
    """The `symbols` of values that are not repeated verbatim."""
    problems: tuple[str, ...]
    """Why the request cannot be met in full."""

    def without(self, slots: Collection[Slot], tokens: Collection[str] = ()) -> "Act":
        """The act without these slots and tokens."""
        dropped = {slot_symbol(slot) for slot in slots} | set(tokens)
        return Act(
            tuple(symbol for symbol in self.symbols if symbol not in dropped),
            tuple(pair for pair in self.slots if pair[0] not in slots),
            tuple(token for token in self.tokens if token not in dropped),
            self.problems,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyUse:
    """How a corpus uses one key."""

    is_verbatim: bool
    tokens: frozenset[str]
    """Values, case-folded, that texts express but do not repeat; "" stands for null."""
    slots: frozenset[str]
    """Values that texts repeat although they mostly do not repeat the key's values."""
    max_number: int
    """The most attributes of this key in one act."""


@dataclass(frozen=True, slots=True, kw_only=True)
class IntentUse:
    """What the texts of one intent state."""

    num_texts: int = 0
    head_keys: tuple[str, ...] = ()
    """Keys that nearly every text states, such as a name."""
    num_facts: tuple[int, ...] = (0, 0, 0)
    """How many other attributes a text states: the 10th, 50th and 90th percentile."""
    values: frozenset[str] = frozenset()
    """Labels of the values that texts express without repeating them."""
    num_continued: int = 0
    """Number of training sentences that describe a subject named before."""
    continued_facts: int = 1
    """How many attributes such a sentence states: the 90th percentile."""


@dataclass(frozen=True, slots=True)
class Schema:
    keys: Mapping[str, KeyUse]
    intents: Mapping[str, IntentUse]

    def act(self, request: TextRequest) -> Act:
        """The request in symbols. Attributes that the corpus cannot express are left out and named
        in `problems`."""
        symbols, slots, tokens, problems = [intent_symbol(request.intent)], [], [], []
        if request.intent not in self.intents:
            symbols, problems = [], [f"intent {request.intent!r} was never seen in training"]
        if request.continued:
            symbols.append(CONTINUED)
        numbers: Counter[str] = Counter()
        for key, value in request.attributes:
            numbers[key] += 1
            use = self.keys.get(key)
            if use is None:
                problems.append(f"attribute {key!r} was never seen in training")
            elif numbers[key] > use.max_number:
                problems.append(f"attribute {key!r} occurs more often than in any training text")
            elif is_repeated(use, value):
                slots.append((Slot(key, numbers[key]), value or ""))
                symbols.append(slot_symbol(slots[-1][0]))
            elif folded(value) in use.tokens:
                tokens.append(value_symbol(key, value, numbers[key]))
                symbols.append(tokens[-1])
            else:
                problems.append(f"value {value!r} of attribute {key!r} was never seen in training")
        return Act(tuple(symbols), tuple(slots), tuple(tokens), tuple(problems))

    def can_state(self, intent: str, key: str, value: str | None) -> bool:
        """Whether training texts of the intent show how to state this fact. A null value is not a
        fact."""
        use = self.keys.get(key)
        if use is None or not value or intent not in self.intents:
            return False
        label = f"{key}{EQUALS}{folded(value)}"
        return is_repeated(use, value) or label in self.intents[intent].values

    def slots(self) -> list[Slot]:
        """Every slot that an act can have."""
        return [
            Slot(key, number)
            for key, use in sorted(self.keys.items())
            if use.is_verbatim or use.slots
            for number in range(1, use.max_number + 1)
        ]

    def value_symbols(self) -> list[str]:
        """Every symbol that stands for a value not repeated verbatim."""
        return [
            value_symbol(key, value, number)
            for key, use in sorted(self.keys.items())
            for value in sorted(use.tokens)
            for number in range(1, use.max_number + 1)
        ]

    def to_json(self) -> dict[str, Any]:
        return {
            "keys": {
                key: {
                    "is_verbatim": use.is_verbatim,
                    "tokens": sorted(use.tokens),
                    "slots": sorted(use.slots),
                    "max_number": use.max_number,
                }
                for key, use in sorted(self.keys.items())
            },
            "intents": {
                intent: {
                    "num_texts": use.num_texts,
                    "head_keys": list(use.head_keys),
                    "num_facts": list(use.num_facts),
                    "values": sorted(use.values),
                    "num_continued": use.num_continued,
                    "continued_facts": use.continued_facts,
                }
                for intent, use in sorted(self.intents.items())
            },
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "Schema":
        keys = {
            key: KeyUse(
                is_verbatim=use["is_verbatim"],
                tokens=frozenset(use["tokens"]),
                slots=frozenset(use["slots"]),
                max_number=use["max_number"],
            )
            for key, use in data["keys"].items()
        }
        intents = {
            intent: IntentUse(
                num_texts=use["num_texts"],
                head_keys=tuple(use["head_keys"]),
                num_facts=tuple(use["num_facts"]),
                values=frozenset(use["values"]),
                num_continued=use["num_continued"],
                continued_facts=use["continued_facts"],
            )
            for intent, use in data["intents"].items()
        }
        return cls(keys, intents)


CONTINUED = "⟦continued⟧"
EQUALS = " = "
VALUE_SYMBOL = re.compile(r"⟦value (?P<number>\d+) (?P<key>.*?) = (?P<value>.*)⟧", re.DOTALL)
SLOT_SYMBOL = re.compile(r"⟦(?:slot|(?P<glued>glued)) (?P<number>\d+) (?P<key>.*)⟧", re.DOTALL)


def intent_symbol(intent: str) -> str:
    return f"⟦intent {intent}⟧"


def value_symbol(key: str, value: str | None, number: int = 1) -> str:
    return f"⟦value {number} {key}{EQUALS}{folded(value)}⟧"


def value_label(symbol: str) -> str:
    """Key and value of a value symbol, without the attribute's number."""
    match = VALUE_SYMBOL.fullmatch(symbol)
    if match is None:
        raise ValueError(f"{symbol!r} is not a value symbol")
    return f"{match['key']}{EQUALS}{match['value']}"


def symbol_parts(symbol: str) -> tuple[str, ...]:
    """What a symbol may share with others: its key, its number, its value."""
    if match := SLOT_SYMBOL.fullmatch(symbol):
        return f"key {match['key']}", f"number {match['number']}"
    if match := VALUE_SYMBOL.fullmatch(symbol):
        return f"key {match['key']}", f"number {match['number']}", f"value {match['value']}"
    return ()


def slot_symbol(slot: Slot, *, glued: bool = False) -> str:
    """`glued`: there is no space before the value."""
    return f"⟦{'glued' if glued else 'slot'} {slot.number} {slot.key}⟧"


def parse_slot_symbol(symbol: str) -> tuple[Slot, bool] | None:
    """The slot and whether it is glued; None for other symbols."""
    match = SLOT_SYMBOL.fullmatch(symbol)
    return (Slot(match["key"], int(match["number"])), bool(match["glued"])) if match else None


def folded(value: str | None) -> str:
    return "" if value is None else value.casefold().strip()


def is_repeated(use: KeyUse, value: str | None) -> bool:
    """Whether texts repeat the value verbatim, which makes it a slot."""
    if not value or not word_forms(value) or folded(value) in use.tokens:
        return False
    return use.is_verbatim or folded(value) in use.slots


def learn_schema(examples: Sequence[TextExample]) -> Schema:
    """Counts how often references repeat each value, and how often acts repeat a key."""
    seen: dict[str, Counter[str]] = defaultdict(Counter)
    repeated: dict[str, Counter[str]] = defaultdict(Counter)
    max_number: Counter[str] = Counter()
    for example in examples:
        text, words = example.reference, split_words(example.reference)
        numbers: Counter[str] = Counter()
        for key, value in example.request.attributes:
            numbers[key] += 1
            seen[key][folded(value)] += 1
            if value and occurrences(word_forms(value), words, text):
                repeated[key][folded(value)] += 1
        max_number |= numbers  # the larger count of each key
    keys = {key: key_use(seen[key], repeated[key], max_number[key]) for key in seen}
    return Schema(keys, {example.request.intent: IntentUse() for example in examples})


def key_use(seen: Counter[str], repeated: Counter[str], max_number: int) -> KeyUse:
    # A value that occurs only once says little by itself, so its rate is smoothed with the key's.
    rate = repeated.total() / seen.total()
    tokens: set[str] = set()
    slots: set[str] = set()
    for value, count in seen.items():
        value_rate = (repeated[value] + RATE_PRIOR * rate) / (count + RATE_PRIOR)
        if value and value_rate >= VERBATIM_RATE:
            slots.add(value)
        else:
            tokens.add(value)
    is_verbatim = rate >= VERBATIM_RATE
    return KeyUse(
        is_verbatim=is_verbatim,
        tokens=frozenset(tokens),
        slots=frozenset() if is_verbatim else frozenset(slots),
        max_number=max_number,
    )


def intent_use(stated_keys: Sequence[Sequence[str]]) -> IntentUse:
    """`stated_keys`: the keys that each text of the intent states."""
    present = Counter(key for keys in stated_keys for key in dict.fromkeys(keys))
    head = tuple(key for key, count in present.items() if count >= HEAD_SHARE * len(stated_keys))
    facts = [sum(key not in head for key in keys) for keys in stated_keys]
    percentiles = tuple(percentile(facts, share) for share in (0.1, 0.5, 0.9))
    return IntentUse(num_texts=len(stated_keys), head_keys=head, num_facts=percentiles)


def percentile(values: Sequence[int], share: float) -> int:
    """The value that this share of the values does not exceed."""
    return sorted(values)[int(share * (len(values) - 1))]
