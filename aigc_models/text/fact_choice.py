"""Which facts a text states on a night: other ones on each of many nights in a row, so that no
sentence comes again.

A text that states exactly its facts is another text where the facts are others; so nights need not
know of each other, and may be made in any order.
"""

import random
from collections.abc import Collection
from itertools import chain, combinations

from aigc_models.text.language.acts import Attributes
from aigc_models.text.language.schema import Schema

MAX_FACTS = 12
"""Of an item, that are chosen from: enough for 220 nights with three facts each."""
MIN_NIGHTS = 7
"""So many nights without a sentence that comes again are worth more than a fact in common."""


def choose_facts(
    schema: Schema,
    intent: str,
    attributes: Attributes,
    shared: Collection[str],
    num_facts: int,
    row_seed: int,
    night: int,
) -> Attributes:
    """The head (a name, a kind) and at most `num_facts` facts that the model can state, for one
    night.

    `shared` are keys of facts that the reader knows from items of theirs: one is stated where that
    leaves choices for a week. An item has as many nights with different facts as there are sets of
    them; one without facts has one.
    """
    use = schema.intents.get(intent)
    head_keys = use.head_keys if use else ()
    stateable = [(key, value) for key, value in attributes if schema.can_state(intent, key, value)]
    head = tuple(pair for pair in stateable if pair[0] in head_keys)
    facts = [pair for pair in stateable if pair[0] not in head_keys]
    rng = random.Random(row_seed)
    known = [pair for pair in facts if pair[0] in shared]
    others = [pair for pair in facts if pair[0] not in shared]
    offered = (rng.sample(known, len(known)) + rng.sample(others, len(others)))[:MAX_FACTS]
    sets = list(combinations(offered, min(num_facts, len(offered))))
    if len(sets) == 1:
        sets = list(
            chain.from_iterable(
                combinations(offered, size) for size in range(bool(offered[1:]), len(offered) + 1)
            )
        )
    familiar = [chosen for chosen in sets if any(key in shared for key, _ in chosen)]
    sets = familiar if len(familiar) >= MIN_NIGHTS else sets
    rng.shuffle(sets)
    chosen = sets[night % len(sets)]
    return head + tuple(pair for pair in facts if pair in chosen)
