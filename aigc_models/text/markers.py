"""Marker tokens: words that show that a text expresses a value without fixed wording ("business",
"folds").

A marker is frequent in texts whose act has a value of a key, and rare in others. Coverage counts a
value as stated after its marker; the fact checker decides later whether it was stated correctly.
"""

from collections import Counter, defaultdict
from collections.abc import Sequence

MIN_PRECISION = 0.8
"""At least this share of the texts with a marker have a value of its key."""
MIN_RECALL = 0.15
"""At least this share of the texts with a value of the key have the marker."""


def learn_markers(texts: Sequence[Sequence[int]], keys: Sequence[Sequence[str]]) -> dict[int, str]:
    """The key of each marker token. `keys` are, for each text, those of its values without fixed
    wording."""
    num_texts: Counter[int] = Counter()
    num_with_key: Counter[str] = Counter()
    together: dict[int, Counter[str]] = defaultdict(Counter)
    for tokens, text_keys in zip(texts, keys, strict=True):
        # Sorted, since the first key counted wins among equally frequent ones.
        different_keys = sorted(set(text_keys))
        num_with_key.update(different_keys)
        for token in set(tokens):
            num_texts[token] += 1
            together[token].update(different_keys)
    markers = {}
    for token, counts in sorted(together.items()):
        if not counts:
            continue
        key, count = counts.most_common(1)[0]
        is_precise = count >= MIN_PRECISION * num_texts[token]
        if is_precise and count >= MIN_RECALL * num_with_key[key]:
            markers[token] = key
    return markers
