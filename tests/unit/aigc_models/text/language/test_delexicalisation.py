import pytest

from aigc_models.text.language.acts import Slot
from aigc_models.text.language.delexicalisation import delexicalise, lexicalise, stated

NAME, TYPE, DRIVE, MEMORY = Slot("name", 1), Slot("type", 1), Slot("drive", 1), Slot("memory", 1)


def test_values_become_slots_and_come_back() -> None:
    values = {NAME: "Zebra 🦓 5", DRIVE: "500 gb"}
    text = "Zebra 🦓 5 holds 500 GB."
    segments = delexicalise(text, list(values.items()))
    assert segments == (NAME, " holds ", DRIVE, ".")
    assert lexicalise(segments, values) == "Zebra 🦓 5 holds 500 gb."


def test_the_longest_of_nested_values_wins() -> None:
    family = Slot("family", 1)
    slots = [(family, "satellite"), (NAME, "satellite pro 5")]
    segments = delexicalise("satellite pro 5 of the satellite family", slots)
    assert segments == (NAME, " of the ", family, " family")


def test_equal_values_fill_their_slots_in_turn() -> None:
    segments = delexicalise("64 gb and 64 gb", [(DRIVE, "64 gb"), (MEMORY, "64 gb")])
    assert stated(segments) == [DRIVE, MEMORY]


def test_every_occurrence_of_a_value_becomes_its_slot() -> None:
    assert stated(delexicalise("x1 is x1", [(NAME, "x1")])) == [NAME, NAME]


@pytest.mark.parametrize(
    ("before", "value", "expected"),
    [
        ("it has a ", "intel chip", "it has an intel chip"),
        ("it has an ", "fast chip", "it has a fast chip"),
        ("An ", "8 hour battery", "An 8 hour battery"),
        ("an ", "80 gb drive", "an 80 gb drive"),
        ("a ", "11 inch screen", "an 11 inch screen"),
        ("an ", "110 v plug", "a 110 v plug"),
        ("a ", "18V drill", "an 18V drill"),
        ("a ", "11-inch screen", "an 11-inch screen"),
        ("a ", "11% share", "an 11% share"),
        ("a ", "11th floor", "an 11th floor"),
        ("a ", "11,000 mAh battery", "an 11,000 mAh battery"),
        ("a ", "8-core chip", "an 8-core chip"),
        ("a ", "18", "an 18"),
        ("an ", "180", "a 180"),
        ("an ", "1800 W heater", "a 1800 W heater"),
        ("via ", "intel", "via intel"),
        ("the plan ", "full", "the plan full"),
    ],
)
def test_an_article_suits_the_value_after_it(before: str, value: str, expected: str) -> None:
    assert lexicalise((before, NAME), {NAME: value}) == expected
