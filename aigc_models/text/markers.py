"""Tokens that give away that a value without fixed wording is being expressed ("business",
"folds").

Learned from which tokens stand in texts whose act has such a value, and hardly in others. They tell
coverage that the value has been said; whether it was said rightly is for the fact checker to judge.
"""

from collections import Counter, defaultdict
from collections.abc import Sequence

MIN_PRECISION = 0.8
"""Share of a marker's texts whose act has a value of the key."""
MIN_RECALL = 0.15
"""Share of the key's texts that have the marker."""


def learn_markers(texts: Sequence[Sequence[int]], keys: Sequence[Sequence[str]]) -> dict[int, str]:
    """The key that each marker token gives away; `keys` are those of each text's values without
    fixed wording."""
    num_texts: Counter[int] = Counter()
    num_with_key: Counter[str] = Counter()
    together: dict[int, Counter[str]] = defaultdict(Counter)
    for tokens, text_keys in zip(texts, keys, strict=True):
        # of keys that come equally often, the first one counted wins
        different_keys = sorted(set(text_keys))
        num_with_key.update(different_keys)
        for token in set(tokens):
            num_texts[token] += 1
            together[token].update(different_keys)
    markers = {}
    for token, counts in sorted(together.items()):
        for key, count in counts.most_common(1):
            if (
                count >= MIN_PRECISION * num_texts[token]
                and count >= MIN_RECALL * num_with_key[key]
            ):
                markers[token] = key
    return markers
