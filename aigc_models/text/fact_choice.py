"""Chooses different facts of an item each night, so that its sentence does not repeat for many
nights.

Texts with different facts differ, since each states exactly its own. So the choice depends only on
the night's number, and nights can be generated in any order.
"""

import random
from collections.abc import Collection
from itertools import chain, combinations

from aigc_models.text.language.acts import Attributes
from aigc_models.text.language.schema import Schema

MAX_FACTS = 12
"""Facts of an item to choose from: enough for 220 nights with three facts each."""
MIN_NIGHTS = 7
"""Shared facts are preferred only if that leaves this many nights without a repeated sentence."""


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

    `shared` are keys of facts that the item has in common with items that the reader knows: one
    of them is stated if that still leaves `MIN_NIGHTS` choices. The choices repeat after as many
    nights as there are sets of facts.
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
        # Too few facts to vary them: vary their number. A single fact may also be left out.
        least = 1 if len(offered) > 1 else 0
        sizes = range(least, len(offered) + 1)
        sets = list(chain.from_iterable(combinations(offered, size) for size in sizes))
    familiar = [chosen for chosen in sets if any(key in shared for key, _ in chosen)]
    sets = familiar if len(familiar) >= MIN_NIGHTS else sets
    rng.shuffle(sets)
    chosen = sets[night % len(sets)]
    return head + tuple(pair for pair in facts if pair in chosen)
