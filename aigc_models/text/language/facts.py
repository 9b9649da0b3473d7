"""Checks whether a text states each fact of its act once, and nothing else.

It checks values repeated verbatim, values expressed in free wording, numbers, values of other acts
in the training corpus, and seams between words. It does not notice a claim that no training act
ever made.
"""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

from torch import Tensor

from aigc_models.text.language.acts import Segments, Slot, TextExample
from aigc_models.text.language.delexicalisation import stated
from aigc_models.text.language.expression import ExpressionDetector
from aigc_models.text.language.schema import Act, Schema, value_label
from aigc_models.text.language.wording import Wording
from aigc_models.text.language.words import NUMBER, word_forms

EXPRESSED = 0.5
"""A text counts as expressing a value from this probability on."""
COMMON_SHARE = 0.02
"""A value is an ordinary phrase if more than this share of its occurrences are in texts whose act
lacks it."""
REPEATED_SHARE = 0.1
"""A text may repeat a key's values if more than this share of the references do so."""
MAX_KNOWN_WORDS = 12
SEAM = "is in no training text"
"""End of a problem of wording, not of facts: words that are never side by side in training."""


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
        """The problems of each text as a description of the act, including those of the act itself.
        A text without problems is faithful."""
        found: list[tuple[str, ...]] = []
        for text, expressed in zip(texts, self.detector.probabilities(texts), strict=True):
            seams = [f"{run!r} {SEAM}" for run in self.wording.unseen(text)]
            problems = (
                *act.problems,
                *self.slot_problems(act, text),
                *self.value_problems(act, expressed),
                *self.foreign_problems(act, text),
                *seams,
            )
            found.append(problems)
        return found

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

    def foreign_problems(self, act: Act, text: Segments) -> list[str]:
        """Numbers and known values in literal pieces that are not part of a given value."""
        given = [value for _, value in act.slots]
        allowed = {number for value in given for number in NUMBER.findall(value)}
        given_forms = [f" {' '.join(word_forms(value))} " for value in given]
        problems = []
        for piece in (segment for segment in text if isinstance(segment, str)):
            numbers = NUMBER.findall(piece)
            problems += [f"number {n} was not given" for n in numbers if n not in allowed]
            for value in self.known_values_in(piece):
                if not any(f" {value} " in forms for forms in given_forms):
                    problems.append(f"{value!r} is named but was not given")
        return problems

    def known_values_in(self, piece: str) -> list[str]:
        runs = runs_like(self.lengths_from, word_forms(piece))
        return [" ".join(run) for run in runs if run in self.known_forms]

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
    """Values that were nearly always given when a text has them: names rather than ordinary
    words."""
    values: set[str] = set()
    for example in examples:
        values |= {value for _, value in example.request.attributes if value and has_letters(value)}
    # Sorted, so that of several spellings the same one is kept every time.
    forms = {word_forms(value): value for value in sorted(values)}
    forms = {form: value for form, value in forms.items() if 0 < len(form) <= MAX_KNOWN_WORDS}
    given: Counter[tuple[str, ...]] = Counter()
    not_given: Counter[tuple[str, ...]] = Counter()
    lengths_from = lengths_by_first_word(forms)
    for example, text in zip(examples, texts, strict=True):
        slots = dict(schema.act(example.request).slots)
        given.update(word_forms(slots[slot]) for slot in set(stated(text)) if slot in slots)
        for piece in (segment for segment in text if isinstance(segment, str)):
            runs = runs_like(lengths_from, word_forms(piece))
            not_given.update(run for run in runs if run in forms)
    known = set()
    for form, value in forms.items():
        max_not_given = COMMON_SHARE * (given[form] + not_given[form])
        if given[form] and not_given[form] <= max_not_given:
            known.add(value)
    return known


def lengths_by_first_word(forms: Collection[tuple[str, ...]]) -> dict[str, tuple[int, ...]]:
    """The lengths of the values that begin with each word. With them a text is searched once, not
    once for each value."""
    lengths: dict[str, set[int]] = defaultdict(set)
    for form in forms:
        lengths[form[0]].add(len(form))
    return {word: tuple(sorted(sizes)) for word, sizes in lengths.items()}


def runs_like(
    lengths_from: Mapping[str, Sequence[int]], words: tuple[str, ...]
) -> Iterator[tuple[str, ...]]:
    """The runs of words that have the first word and the length of a value."""
    for i, word in enumerate(words):
        for size in lengths_from.get(word, ()):
            yield words[i : i + size]


def learn_repeatable_keys(texts: Sequence[Segments]) -> set[str]:
    """Keys whose values texts may state more than once."""
    num_stated: Counter[str] = Counter()
    num_repeated: Counter[str] = Counter()
    for text in texts:
        for slot, count in Counter(stated(text)).items():
            num_stated[slot.key] += 1
            if count > 1:
                num_repeated[slot.key] += 1
    return {key for key in num_stated if num_repeated[key] > REPEATED_SHARE * num_stated[key]}


def has_letters(value: str) -> bool:
    return any(character.isalpha() for character in value)


def shortened(value: str) -> str:
    return value if len(value) <= 60 else value[:57] + "..."


def literal_numbers(text: Segments) -> list[str]:
    """The numbers in the literal pieces."""
    literals = [piece for piece in text if not isinstance(piece, Slot)]
    return [number for piece in literals for number in NUMBER.findall(piece)]
