"""Whether a text states what its act gives, once, and nothing else.

Checked are: each value that is repeated verbatim, each value that is expressed in free wording,
numbers, values of other acts of the training corpus, and seams between words. A claim that no
training act ever made is not noticed.
"""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from torch import Tensor

from aigc_models.text.language.acts import Segments, Slot, TextExample
from aigc_models.text.language.delexicalisation import stated
from aigc_models.text.language.expression import ExpressionDetector
from aigc_models.text.language.schema import Act, Schema, value_label
from aigc_models.text.language.wording import Wording
from aigc_models.text.language.words import NUMBER, word_forms

EXPRESSED = 0.5
"""Probability from which a text counts as expressing a value."""
COMMON_SHARE = 0.02
"""A value that is in texts whose act lacks it for more than this share of its occurrences is an
ordinary phrase."""
REPEATED_SHARE = 0.1
"""Values of a key may be repeated in a text where more than this share of the references do so."""
MAX_KNOWN_WORDS = 12
SEAM = "is in no training text"
"""End of a problem that is no matter of facts: words that never stood side by side."""


class FactChecker:
    def __init__(
        self,
        detector: ExpressionDetector,
        wording: Wording,
        known_values: Iterable[str],
        repeatable_keys: Iterable[str],
    ) -> None:
        self.detector = detector
        self.wording = wording
        self.known_values = frozenset(known_values)
        self.known_forms = frozenset(word_forms(value) for value in self.known_values)
        self.lengths_from = lengths_by_first_word(self.known_forms)
        self.repeatable_keys = frozenset(repeatable_keys)

    def check(self, act: Act, texts: Sequence[Segments]) -> list[tuple[str, ...]]:
        """The problems of each text as a description of this act, the act's own included; empty:
        faithful."""
        probabilities = (
            self.detector.probabilities(texts) if self.detector.labels else [{} for _ in texts]
        )
        return [
            (
                *act.problems,
                *self.slot_problems(act, text),
                *self.value_problems(act, expressed),
                *self.foreign(act, text),
                *(f"{run!r} {SEAM}" for run in self.wording.unseen(text)),
            )
            for text, expressed in zip(texts, probabilities, strict=True)
        ]

    def slot_problems(self, act: Act, text: Segments) -> list[str]:
        found = Counter(stated(text))
        problems = []
        for slot, value in act.slots:
            count = found.pop(slot, 0)
            if count == 0:
                problems.append(f"{slot.key} {shortened(value)!r} is missing")
            elif count > 1 and slot.key not in self.repeatable_keys:
                problems.append(f"{slot.key} {shortened(value)!r} is stated {count} times")
        return problems + [f"a value of {slot.key} is stated that was not given" for slot in found]

    def value_problems(self, act: Act, expressed: Mapping[str, float]) -> list[str]:
        problems = []
        wanted = dict.fromkeys(map(value_label, act.tokens))
        for label in wanted:
            if label not in expressed:
                problems.append(f"{shortened(label)} is too rare in training to be checked")
            elif expressed[label] < EXPRESSED:
                problems.append(f"{shortened(label)} is not expressed")
        for label, probability in expressed.items():
            if probability >= EXPRESSED and label not in wanted:
                problems.append(f"{shortened(label)} is expressed but was not given")
        return problems

    def foreign(self, act: Act, text: Segments) -> list[str]:
        """Numbers and known values in the literal pieces that are part of no value given."""
        given = [value for _, value in act.slots]
        allowed = {number for value in given for number in NUMBER.findall(value)}
        given_forms = [f" {' '.join(word_forms(value))} " for value in given]
        problems = []
        for piece in (segment for segment in text if isinstance(segment, str)):
            problems += [
                f"number {number} was not given"
                for number in NUMBER.findall(piece)
                if number not in allowed
            ]
            for value in self.known_in(piece):
                if not any(f" {value} " in forms for forms in given_forms):
                    problems.append(f"{value!r} is named but was not given")
        return problems

    def known_in(self, piece: str) -> list[str]:
        words = word_forms(piece)
        return [
            " ".join(words[i : i + size])
            for i, word in enumerate(words)
            for size in self.lengths_from.get(word, ())
            if words[i : i + size] in self.known_forms
        ]

    def tensors(self) -> dict[str, Tensor]:
        return {**self.detector.tensors(), "wording.runs": self.wording.runs_L}

    def to_json(self) -> dict[str, Any]:
        return {
            "detector": self.detector.to_json(),
            "known_values": sorted(self.known_values),
            "repeatable_keys": sorted(self.repeatable_keys),
        }

    @classmethod
    def from_parts(cls, data: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> "FactChecker":
        detector = ExpressionDetector.from_parts(data["detector"], tensors)
        return cls(
            detector,
            Wording(tensors["wording.runs"]),
            data["known_values"],
            data["repeatable_keys"],
        )


def learn_known_values(
    examples: Sequence[TextExample], texts: Sequence[Segments], schema: Schema
) -> set[str]:
    """Values that, when they stand in a text, were nearly always given: names rather than ordinary
    words."""
    values = {
        value
        for example in examples
        for _, value in example.request.attributes
        if value and has_letters(value)
    }
    forms = {
        word_forms(value): value
        for value in sorted(values)
        if len(word_forms(value)) <= MAX_KNOWN_WORDS
    }
    forms.pop((), None)
    given: Counter[tuple[str, ...]] = Counter()
    not_given: Counter[tuple[str, ...]] = Counter()
    lengths_from = lengths_by_first_word(forms)
    for example, text in zip(examples, texts, strict=True):
        slots = dict(schema.act(example.request).slots)
        given.update(word_forms(slots[slot]) for slot in set(stated(text)) if slot in slots)
        for piece in (segment for segment in text if isinstance(segment, str)):
            words = word_forms(piece)
            found = (
                words[i : i + size]
                for i, word in enumerate(words)
                for size in lengths_from.get(word, ())
            )
            not_given.update(form for form in found if form in forms)
    return {
        value
        for form, value in forms.items()
        if not_given[form] <= COMMON_SHARE * (given[form] + not_given[form]) and given[form]
    }


def lengths_by_first_word(forms: Collection[tuple[str, ...]]) -> dict[str, tuple[int, ...]]:
    """How long the values are that begin with a word, so that a text is searched word by word, not
    value by value."""
    lengths: dict[str, set[int]] = defaultdict(set)
    for form in forms:
        lengths[form[0]].add(len(form))
    return {word: tuple(sorted(sizes)) for word, sizes in lengths.items()}


def learn_repeatable_keys(texts: Sequence[Segments]) -> set[str]:
    once: Counter[str] = Counter()
    more: Counter[str] = Counter()
    for text in texts:
        for slot, count in Counter(stated(text)).items():
            once[slot.key] += 1
            more[slot.key] += count > 1
    return {key for key in once if more[key] > REPEATED_SHARE * once[key]}


def has_letters(value: str) -> bool:
    return any(character.isalpha() for character in value)


def shortened(value: str) -> str:
    return value if len(value) <= 60 else value[:57] + "..."


def literal_numbers(text: Segments) -> list[str]:
    return [
        number for piece in text if not isinstance(piece, Slot) for number in NUMBER.findall(piece)
    ]
