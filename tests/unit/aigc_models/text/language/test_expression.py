import torch

from aigc_models.text.language.acts import Segments, Slot
from aigc_models.text.language.expression import ExpressionDetector, fit_detector

NAME = Slot("name", 1)
TEXTS: list[Segments] = [
    ("The ", NAME, " is for business."),
    ("The ", NAME, " suits work and business."),
    ("The ", NAME, " is not for business."),
    ("Keep the ", NAME, " at home, not for business."),
    ("The ", NAME, " is red."),
    (NAME, ", a red one."),
] * 4
LABELS = [
    ["business = true"],
    ["business = true"],
    ["business = false"],
    ["business = false"],
    [],
    [],
] * 4


def test_free_wording_is_learned() -> None:
    detector = fit_detector(TEXTS, LABELS)
    expressed = detector.probabilities(
        [("A ", NAME, " for business."), (NAME, " is not for business."), ("It is red",)]
    )
    assert expressed[0]["business = true"] > 0.5 > expressed[0]["business = false"]
    assert expressed[1]["business = false"] > 0.5 > expressed[1]["business = true"]
    assert max(expressed[2].values()) < 0.5


def test_equal_corpora_give_equal_detectors() -> None:
    first, second = fit_detector(TEXTS, LABELS), fit_detector(TEXTS, LABELS)
    assert first.weights_FL.equal(second.weights_FL)


def test_labels_with_few_examples_are_left_out() -> None:
    assert fit_detector(TEXTS[:6], [["rare"], *LABELS[1:6]]).labels == ()
    assert fit_detector(TEXTS[:6], LABELS[:6]).probabilities(TEXTS[:2]) == [{}, {}]


def test_a_detector_can_be_stored_and_restored() -> None:
    detector = fit_detector(TEXTS, LABELS)
    again = ExpressionDetector.from_parts(detector.to_json(), detector.tensors())
    assert again.probabilities(TEXTS) == detector.probabilities(TEXTS)
    assert all(isinstance(tensor, torch.Tensor) for tensor in detector.tensors().values())
