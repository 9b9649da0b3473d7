from dataclasses import replace

import pytest

from infra.errors import GenerationError
from tests.unit.workers.plans.test_plan import plan_of
from workers.generation.generate import Tally
from workers.partitions.parts import Receipt


def count(num_quarantined: list[int], budget: float) -> int:
    """Adds one receipt per shard of ten rows, as a run does; returns how many were added."""
    plan = plan_of((10 * len(num_quarantined),), rows_per_shard=10)
    tally = Tally(replace(plan, settings=plan.settings | {"error_budget": budget}))
    for shard, quarantined in enumerate(num_quarantined):
        receipt = Receipt(
            shard=shard,
            fingerprint=plan.fingerprint,
            input_rows=10,
            accepted=10 - quarantined,
            rejected=0,
            quarantined=quarantined,
            future=0,
        )
        tally.add(receipt)
    return len(tally.receipts)


@pytest.mark.parametrize("place", [0, 1, 5, 9])
def test_a_bad_row_within_the_budget_is_accepted_in_whichever_shard_it_is(place: int) -> None:
    shards = [0] * 10
    shards[place] = 1
    assert count(shards, 0.01) == 10
    with pytest.raises(
        GenerationError, match=r"1 of \d+ rows raised, more than the error budget of 0\.9%"
    ):
        count(shards, 0.009)


def test_a_run_fails_as_soon_as_the_whole_plans_budget_is_exceeded() -> None:
    with pytest.raises(GenerationError, match="20 of 20 rows raised"):
        count([10] * 10, 0.1)


def test_plans_of_fewer_than_twenty_rows_have_no_budget() -> None:
    assert count([9], 0.01) == 1
