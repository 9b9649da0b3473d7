"""Replaces values in texts by slots, and slots by values (Wen et al., "Semantically Conditioned
LSTM-based NLG", EMNLP 2015, section 3.3).

The model learns where a value goes; the value itself comes from the request, so it is always
spelled as given.
"""

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence

from aigc_models.text.language.acts import Segments, Slot
from aigc_models.text.language.words import Occurrence, occurrences, split_words, word_forms

BEGINS_WITH_VOWEL = re.compile(r"[aeiou]|8|1[18](?!\d)", re.IGNORECASE)


def delexicalise(text: str, slots: Sequence[tuple[Slot, str]]) -> Segments:
    """Replaces every occurrence of the slots' values, longest values first. Slots of equal values
    take turns; the last one takes all further occurrences."""
    words = split_words(text)
    same_value: dict[tuple[str, ...], list[Slot]] = defaultdict(list)
    for slot, value in slots:
        same_value[word_forms(value)].append(slot)
    taken: dict[int, tuple[Occurrence, Slot]] = {}
    covered: set[int] = set()
    for forms in sorted(same_value, key=len, reverse=True):
        alternatives = same_value[forms]
        found = occurrences(forms, words, text)
        free = [place for place in found if covered.isdisjoint(range(place.first, place.last))]
        for index, place in enumerate(free):
            slot = alternatives[min(index, len(alternatives) - 1)]
            taken[place.first] = place, slot
            covered.update(range(place.first, place.last))
    segments: list[str | Slot] = []
    position = 0
    for first, (place, slot) in sorted(taken.items()):
        start = words[first].start
        if text[position:start]:
            segments.append(text[position:start])
        segments.append(slot)
        position = place.end
    if text[position:]:
        segments.append(text[position:])
    return tuple(segments)


def lexicalise(segments: Segments, values: Mapping[Slot, str]) -> str:
    """Replaces slots by values. Adapts an English indefinite article before a value to the value's
    first letter, not its sound ("an USB port"), or to its first number as read aloud ("an 18V
    drill")."""
    pieces: list[str] = []
    for segment in segments:
        if isinstance(segment, Slot):
            value = values[segment]
            if pieces:
                pieces[-1] = with_article(pieces[-1], value)
            pieces.append(value)
        else:
            pieces.append(segment)
    return "".join(pieces)


def with_article(before: str, value: str) -> str:
    """`before`, with a final "a" or "an" changed to suit `value`."""
    stem = before.rstrip(" ")
    for article in (" an", " a"):
        # The added space lets an article at the very start of a text match, too.
        if f" {stem.lower()}".endswith(article) and len(stem) < len(before):
            without_n = stem[: len(stem) - len(article) + 2]
            return without_n + ("n " if starts_with_vowel(value) else " ")
    return before


def starts_with_vowel(value: str) -> bool:
    return BEGINS_WITH_VOWEL.match(value) is not None


def stated(segments: Segments) -> list[Slot]:
    """The slots of a text, in order."""
    return [segment for segment in segments if isinstance(segment, Slot)]
