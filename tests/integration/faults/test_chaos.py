"""The short form of the chaos test: one kill of each kind that is quickly repaired, and the
riskiest steps of publishing.

`make chaos` runs the long form.
"""

import random

import pytest

from tests.support.chaos import Chaos
from tests.support.chaos_table import print_table
from tests.support.night import Night

SEED = 1
VICTIMS = (
    "flow process",
    "actor",
    "raylet of the head",
    "Prefect server, back at once",
    "S3 server, back at once",
)
STEPS = (("copy of a part", "after"), ("put of _SUCCESS", "before"), ("put of _SUCCESS", "after"))


@pytest.mark.timeout(1800)
def test_whatever_is_killed_no_row_is_lost_and_one_rerun_publishes_the_same_bytes(
    night: Night,
) -> None:
    chaos = Chaos(night, random.Random(SEED))
    try:
        for victim in VICTIMS:
            chaos.strike(victim)
        steps = chaos.undisturbed().steps
        for number, (step, side) in enumerate(STEPS):
            chaos.strike_step(steps.index(step) + 1, side, replaces=number > 0)
    finally:
        chaos.forget()
        print_table(chaos.kills)
    assert [kill for kill in chaos.kills if kill.problems or kill.lost or kill.doubled] == []
