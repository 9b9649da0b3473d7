import math

import pytest

from aigc_models.text.corpus import TrainingText
from aigc_models.text.language.acts import Slot, TextRequest
from aigc_models.text.language.facts import SEAM
from aigc_models.text.language.schema import Act
from aigc_models.text.metrics import bleu, distinct_share, text_metrics
from aigc_models.text.model import GeneratedText

NAME = Slot("name", 1)


def wanted(name: str, *text: str | Slot) -> TrainingText:
    act = Act(("⟦intent inform⟧", "⟦slot 1 name⟧"), ((NAME, name),), (), ())
    return TrainingText(TextRequest("inform", (("name", name),)), act, text)


def generated(text: str, *problems: str) -> GeneratedText:
    return GeneratedText(text, -1.0, problems, 1, int(not problems))


def test_bleu_is_one_for_a_reference_and_clipped_against_all_of_them() -> None:
    assert bleu(["a b c d e"], [["x y z w v", "a b c d e"]]) == pytest.approx(1.0)
    assert bleu(["a b c d e"], [["v w x y z"]]) < 0.1
    assert bleu([], []) == 0.0


def test_a_short_text_is_punished_although_another_has_more_references() -> None:
    short, whole = "a b c d", "v w x y z"
    texts, references = [short, whole], [["a b c d e f g h"], [whole, "t u v"]]
    assert bleu(texts, references) == pytest.approx(math.exp(1 - (8 + 5) / (4 + 5)))


def test_references_of_equal_acts_are_filled_with_the_texts_values() -> None:
    texts = [
        wanted("A1", "the ", NAME, " is a very good kettle"),
        wanted("B2", "buy the ", NAME, " now for your home"),
    ]
    metrics = text_metrics(
        [generated("Buy the A1 now for your home"), generated("The B2 is a very good kettle")],
        texts,
        False,
    )
    assert metrics["bleu"] == pytest.approx(1.0)
    assert metrics["slot_error_rate"] == 0.0


def test_problems_are_counted_per_attribute_and_per_text() -> None:
    texts = [wanted("A1", "the ", NAME), wanted("B2", "the ", NAME)]
    rows = [generated("the A1"), generated("the", "name 'B2' is missing", f"'a b' {SEAM}")]
    metrics = text_metrics(rows, texts, False)
    assert metrics["slot_error_rate"] == 0.5
    assert metrics["texts_with_error_share"] == 0.5
    assert metrics["duplicate_share"] == 0.0


def test_diversity_is_the_share_of_distinct_ngrams() -> None:
    assert distinct_share(["a b a", "a b"], 1) == pytest.approx(2 / 5)
    assert distinct_share(["a b a", "a b"], 2) == pytest.approx(2 / 3)
