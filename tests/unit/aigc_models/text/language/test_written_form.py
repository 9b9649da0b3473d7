import pytest

from aigc_models.text.language.written_form import is_tokenised, write_out


@pytest.mark.parametrize(
    ("tokenised", "written"),
    [
        ("all laptop -s are 15.6 inch -s wide .", "All laptops are 15.6 inches wide."),
        (
            "it is moderate -ly big . it has 2 battery -s",
            "It is moderately big. It has 2 batteries.",
        ),
        ("the family 's price , i think", "The family's price, I think."),
        ("it runs windows 8.1 . do you like it", "It runs windows 8.1. Do you like it?"),
        ("which one do you want ?", "Which one do you want?"),
        ("true -ly cheap -er toy -s", "Truly cheaper toys."),
        ("", ""),
    ],
)
def test_tokenised_english_is_written_out(tokenised: str, written: str) -> None:
    assert write_out(tokenised) == written


def test_only_lower_case_texts_with_separate_punctuation_are_tokenised() -> None:
    assert is_tokenised(["the laptop -s are here", "it is big . it is red"])
    assert not is_tokenised(["The laptops are here.", "It is big . It is red ."])
    assert not is_tokenised(["no capital, no space before a mark."])
    assert not is_tokenised([])
