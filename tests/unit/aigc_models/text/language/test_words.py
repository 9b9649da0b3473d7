import pytest

from aigc_models.text.language.words import occurrences, split_words, word_forms


def found(value: str, text: str) -> list[str]:
    words = split_words(text)
    return [
        text[words[place.first].start : place.end]
        for place in occurrences(word_forms(value), words, text)
    ]


@pytest.mark.parametrize(
    ("value", "text", "expected"),
    [
        ("windows 8", "it runs windows 8.1 and windows 8 .", ["windows 8"]),
        ("Black & Decker", "A black and decker drill", ["black and decker"]),
        ("mid weight", "a mid-weight laptop", ["mid-weight"]),
        ("3.5 hour", "lasts 3.5 hours, not 13.5 hours", ["3.5 hour"]),
        ("5", "an i5 with 5 ports and 5.5 inch", ["5"]),
        ("gas", "gasoline or gas", ["gas"]),
        ("غلاية", "هذه غلاية جديدة", ["غلاية"]),
        ("🦓 kettle", "the 🦓 kettle", ["🦓 kettle"]),
        ('7" screen', 'a 7" screen', ['7" screen']),
        ("-18 °c", "down to -18 °C", ["-18 °C"]),
        ("18 °c", "down to -18 °C", []),
    ],
)
def test_a_value_is_found_where_a_reader_would_find_it(
    value: str, text: str, expected: list[str]
) -> None:
    assert found(value, text) == expected


def test_a_value_without_words_is_never_found() -> None:
    assert found("", "any text") == []
    assert found("  ", "any text") == []
