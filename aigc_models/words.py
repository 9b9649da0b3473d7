"""Words of a text with their places, so that values can be found in texts that are spelled a little differently.

A number with its decimals is one word ("8" does not occur in "8.1"), a hyphen between words is none, `&` reads "and".
Knows nothing about acts.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
WORD = re.compile(r"(?<!\w)-?\d+(?:[.,]\d+)*|\d+(?:[.,]\d+)*|[^\W\d_]+|[^\w\s-]|_")
PLURAL = re.compile(r"(?:e?s)?(?!\w)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Word:
    form: str
    """Case-folded."""
    start: int
    end: int


def split_words(text: str) -> list[Word]:
    """The words and single punctuation marks of a text, in order."""
    found = ((match.group().casefold(), match.start(), match.end()) for match in WORD.finditer(text))
    return [Word("and" if form == "&" else form, start, end) for form, start, end in found]


@lru_cache(maxsize=65536)
def word_forms(value: str) -> tuple[str, ...]:
    return tuple(word.form for word in split_words(value))


def occurrences(forms: Sequence[str], words: Sequence[Word], text: str) -> list[tuple[int, int]]:
    """Ranges [first, last) of `words` that read `forms` and are no part of a longer word, but for a plural ending."""
    size, found, position = len(forms), [], 0
    if not size:
        return []
    while position + size <= len(words):
        reads = words[position].form == forms[0] and all(words[position + i].form == forms[i] for i in range(1, size))
        if reads and is_whole(text, words[position].start, words[position + size - 1].end):
            found.append((position, position + size))
            position += size
        else:
            position += 1
    return found


def is_whole(text: str, start: int, end: int) -> bool:
    if start > 0 and text[start].isalnum() and text[start - 1].isalnum():
        return False
    if not text[end - 1].isalnum():
        return True
    if text[end - 1].isalpha():
        return PLURAL.match(text, end) is not None
    return end == len(text) or not text[end].isalnum()
