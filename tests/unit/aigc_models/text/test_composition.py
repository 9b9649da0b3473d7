from dataclasses import replace

import pytest

from aigc_models.text.composition import Composition, compose, group_evenly, plan_sentences
from aigc_models.text.language.acts import TextRequest
from aigc_models.text.language.schema import IntentUse, KeyUse, Schema
from aigc_models.text.model import Sampling, TextModel

VERBATIM = KeyUse(is_verbatim=True, tokens=frozenset({"none"}), slots=frozenset(), max_number=1)
FLAG = KeyUse(
    is_verbatim=False, tokens=frozenset({"true", "false"}), slots=frozenset(), max_number=1
)
FACTS = tuple((f"fact{i}", str(i)) for i in range(20))
SCHEMA = Schema(
    {"name": VERBATIM, "flag": FLAG, **{key: VERBATIM for key, _ in FACTS}},
    {
        "inform": IntentUse(
            num_texts=100,
            head_keys=("name",),
            num_facts=(3, 3, 3),
            values=frozenset({"flag = true"}),
            num_continued=500,
            continued_facts=2,
        )
    },
)
PRODUCT = TextRequest(
    "inform", (*FACTS, ("name", "Zeta"), ("flag", "true"), ("unheard", "x"), ("flag2", None))
)
COMPOSITION = Composition(num_facts=7, facts_per_sentence=3)


def stated_keys(plan: list[TextRequest]) -> list[str]:
    return [key for request in plan for key, _ in request.attributes]


def test_facts_are_chosen_and_grouped() -> None:
    first, *later = plan_sentences(SCHEMA, PRODUCT, 1, COMPOSITION)
    assert first.attributes[0] == ("name", "Zeta")
    assert not first.continued
    assert [len(request.attributes) for request in (first, *later)] == [4, 2, 2]
    assert all(request.continued for request in later)
    keys = stated_keys([first, *later])
    assert len(set(keys)) == len(keys) == 8
    assert "unheard" not in keys


def test_the_row_seed_decides_the_choice() -> None:
    plans = [plan_sentences(SCHEMA, PRODUCT, seed, COMPOSITION) for seed in (1, 1, 2)]
    assert plans[0] == plans[1] != plans[2]


def test_zero_facts_mean_all_that_can_be_stated() -> None:
    plan = plan_sentences(SCHEMA, PRODUCT, 1, replace(COMPOSITION, num_facts=0))
    assert sorted(stated_keys(plan)) == sorted(["name", "flag", *(key for key, _ in FACTS)])


def test_order_can_be_kept() -> None:
    plan = plan_sentences(SCHEMA, PRODUCT, 1, replace(COMPOSITION, keep_order=True))
    assert stated_keys(plan) == ["name", *(key for key, _ in FACTS[:7])]


def test_every_sentence_names_the_product_if_texts_never_continue() -> None:
    schema = Schema(SCHEMA.keys, {"inform": replace(SCHEMA.intents["inform"], num_continued=0)})
    plan = plan_sentences(schema, PRODUCT, 1, COMPOSITION)
    assert all(
        request.attributes[0] == ("name", "Zeta") and not request.continued for request in plan
    )


def test_missing_values_are_not_facts() -> None:
    product = TextRequest(
        "inform", (("name", "Zeta"), ("fact1", "none"), ("fact2", None), ("fact3", ""))
    )
    assert stated_keys(plan_sentences(SCHEMA, product, 1, COMPOSITION)) == ["name"]


def test_facts_of_several_products_stay_together() -> None:
    attributes = (("name", "A"), ("fact1", "1"), ("name", "B"), ("fact1", "2"))
    assert plan_sentences(
        SCHEMA, TextRequest("inform", attributes), 1, replace(COMPOSITION, facts_per_sentence=1)
    ) == [TextRequest("inform", attributes)]


def test_groups_are_of_about_equal_size() -> None:
    assert [len(group) for group in group_evenly(FACTS[:7], 3, 3)] == [3, 2, 2]
    assert [len(group) for group in group_evenly(FACTS[:4], 3, 3)] == [2, 2]
    assert group_evenly([], 3, 3) == [()]


def test_later_sentences_state_as_few_facts_as_in_training() -> None:
    assert [len(group) for group in group_evenly(FACTS[:6], 3, 2)] == [2, 2, 2]
    assert [len(group) for group in group_evenly(FACTS[:8], 4, 2)] == [4, 2, 2]
    assert [len(group) for group in group_evenly(FACTS[:6], 3, 1)] == [3, 1, 1, 1]


def test_descriptions_state_their_facts(kettle_model: TextModel) -> None:
    products = [
        TextRequest(
            "inform",
            (
                ("name", f"P {i}"),
                ("material", "glass"),
                ("capacity_l", "1.1"),
                ("switches_off", "true"),
                ("x", "y"),
            ),
        )
        for i in range(5)
    ]
    rows = compose(kettle_model, products, range(5), Sampling(), COMPOSITION)
    for i, row in enumerate(rows):
        assert not row.problems
        assert f"P {i}" in row.text
        assert "glass" in row.text
    assert rows == compose(kettle_model, products, range(5), Sampling(), COMPOSITION)
    assert compose(kettle_model, [], [], Sampling(), COMPOSITION) == []


@pytest.mark.parametrize("wrong", [{"num_facts": -1}, {"facts_per_sentence": 0}])
def test_invalid_settings_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="must"):
        Composition(**wrong)
