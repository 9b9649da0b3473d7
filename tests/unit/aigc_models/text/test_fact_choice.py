from itertools import pairwise

import pytest

from aigc_models.text.fact_choice import choose_facts
from aigc_models.text.language.acts import Attributes
from aigc_models.text.language.schema import IntentUse, KeyUse, Schema

KEYS = ("name", "type", *(f"fact{number}" for number in range(20)))
VERBATIM = KeyUse(is_verbatim=True, tokens=frozenset(), slots=frozenset(), max_number=1)
SCHEMA = Schema(
    dict.fromkeys(KEYS, VERBATIM),
    {"recommend": IntentUse(num_texts=100, head_keys=("name", "type"), num_facts=(1, 2, 3))},
)
HEAD: Attributes = (("name", "Zeta"), ("type", "kettle"))


def facts(number: int) -> Attributes:
    return tuple((f"fact{place}", f"value {place}") for place in range(number))


def chosen(
    num_facts: int, night: int, *, most: int = 3, shared: tuple[str, ...] = (), seed: int = 7
) -> Attributes:
    return choose_facts(SCHEMA, "recommend", HEAD + facts(num_facts), shared, most, seed, night)


def test_the_head_comes_first_and_facts_keep_their_order() -> None:
    stated = chosen(9, night=739000)
    assert stated[:2] == HEAD
    assert len(stated) == 5
    assert list(stated[2:]) == [pair for pair in facts(9) if pair in stated]


@pytest.mark.parametrize(
    ("num_facts", "num_nights"), [(1, 2), (2, 3), (3, 7), (4, 4), (5, 10), (12, 220), (20, 220)]
)
def test_no_two_nights_state_the_same_until_all_sets_were_stated(
    num_facts: int, num_nights: int
) -> None:
    nights = [chosen(num_facts, night) for night in range(739000, 739000 + num_nights)]
    assert len(set(nights)) == num_nights
    assert chosen(num_facts, 739000 + num_nights) == nights[0]


def test_an_item_without_facts_is_named_every_night() -> None:
    assert [chosen(0, night) for night in (1, 2)] == [HEAD, HEAD]


def test_a_shared_fact_is_stated_if_a_week_of_choices_is_left() -> None:
    for night in range(40):
        assert {"fact3", "fact7"} & {key for key, _ in chosen(9, night, shared=("fact3", "fact7"))}
    nights = [chosen(4, night, shared=("fact0",)) for night in range(4)]
    assert len(set(nights)) == 4, "three sets have it, too few for a week"


def test_rows_begin_at_different_places() -> None:
    assert len({chosen(9, 1, seed=seed) for seed in range(20)}) > 10
    assert all(
        first != second for first, second in pairwise(chosen(9, night) for night in range(50))
    )


def test_what_the_model_cannot_state_is_left_out() -> None:
    attributes = (*HEAD, ("colour", "red"), ("fact1", None), *facts(1))
    assert choose_facts(SCHEMA, "recommend", attributes, (), 3, 1, 1) in (HEAD, HEAD + facts(1))
    assert choose_facts(SCHEMA, "praise", HEAD + facts(3), (), 3, 1, 1) == ()
