"""Splits texts into words with their positions, so that values are found in texts that spell them a
little differently.

A number with its decimals is one word ("8" does not occur in "8.1"), a hyphen between words is not
a word, and `&` reads "and". Knows nothing about acts.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
WORD = re.compile(r"(?<!\w)-?\d+(?:[.,]\d+)*|\d+(?:[.,]\d+)*|[^\W\d_]+|[^\w\s-]|_")
PLURALS = ("s", "es")


@dataclass(frozen=True, slots=True)
class Word:
    form: str
    """Case-folded."""
    start: int
    end: int


def split_words(text: str) -> list[Word]:
    """The words and single punctuation marks of a text, in order."""
    words = []
    for match in WORD.finditer(text):
        form = match.group().casefold()
        words.append(Word("and" if form == "&" else form, match.start(), match.end()))
    return words


@lru_cache(maxsize=65536)
def word_forms(text: str) -> tuple[str, ...]:
    """The case-folded words. Cached, since values and the pieces between them repeat."""
    return tuple(word.form for word in split_words(text))


@dataclass(frozen=True, slots=True)
class Occurrence:
    first: int
    """Index of the first word."""
    last: int
    """Index after the last word."""
    end: int
    """Position after the last character, without a plural ending."""


def occurrences(forms: Sequence[str], words: Sequence[Word], text: str) -> list[Occurrence]:
    """Where `words` read `forms` as whole words; the last may have a plural ending."""
    size = len(forms)
    found = []
    position = 0
    while 0 < size <= len(words) - position:
        end = match_end(forms, words[position : position + size], text)
        if end is None:
            position += 1
        else:
            found.append(Occurrence(position, position + size, end))
            position += size
    return found


def match_end(forms: Sequence[str], words: Sequence[Word], text: str) -> int | None:
    """Position after the last character if the words read `forms`, else None."""
    first, last = words[0], words[-1]
    if first.form != forms[0] and len(forms) > 1:
        return None
    if any(word.form != form for word, form in zip(words[:-1], forms[:-1], strict=True)):
        return None
    ending = last.form.removeprefix(forms[-1])
    is_same = last.form == forms[-1]
    is_plural = ending in PLURALS and forms[-1].isalpha() and last.form == forms[-1] + ending
    if not is_same and not is_plural:
        return None
    if is_cut(text, first.start) or is_cut(text, last.end):
        return None
    return last.end - (0 if is_same else len(ending))


def is_cut(text: str, position: int) -> bool:
    """Whether there is a letter or digit on both sides of a position."""
    return 0 < position < len(text) and text[position - 1].isalnum() and text[position].isalnum()
