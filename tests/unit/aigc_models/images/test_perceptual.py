import math

import pytest
import torch

from aigc_models.images.classifier import Classifier, train_classifier
from aigc_models.images.data import to_network
from aigc_models.images.perceptual import LEAST_ERROR, feature_maps, perceptual_loss
from tests.unit.aigc_models.image_cases import network_batch, squares


@pytest.fixture(scope="module")
def classifier() -> Classifier:
    return train_classifier([squares(40)], 2, steps=20).requires_grad_(False)


def test_pictures_that_are_alike_have_the_least_loss(classifier: Classifier) -> None:
    images_BCHW, _ = network_batch(3, 28, 1)
    assert float(perceptual_loss(classifier, images_BCHW, images_BCHW)) == pytest.approx(
        0.5 * math.log(LEAST_ERROR)
    )


def test_the_loss_is_the_mean_over_scales_of_half_the_logarithm_of_the_error(
    classifier: Classifier,
) -> None:
    (images_BCHW, _), others_BCHW = network_batch(3, 28, 1), torch.zeros(3, 1, 28, 28)
    pairs = zip(
        feature_maps(classifier, images_BCHW), feature_maps(classifier, others_BCHW), strict=True
    )
    wanted = [0.5 * math.log(float(((a - b) ** 2).mean())) for a, b in pairs]
    assert len(wanted) == 3
    assert float(perceptual_loss(classifier, images_BCHW, others_BCHW)) == pytest.approx(
        sum(wanted) / 3, rel=1e-5
    )


def test_features_are_normalised_over_the_training_pictures(classifier: Classifier) -> None:
    for features_BFHW in feature_maps(classifier, to_network(squares(200).images_BHWC)):
        assert 0.2 < float(features_BFHW.square().mean()) < 5.0


def test_a_blurred_edge_costs_more_than_an_even_change_of_the_same_size_in_pixels(
    classifier: Classifier,
) -> None:
    images_BCHW = to_network(squares(40).images_BHWC)
    blurred_BCHW = torch.nn.functional.avg_pool2d(
        images_BCHW, 5, stride=1, padding=2, count_include_pad=False
    )
    size = (blurred_BCHW - images_BCHW).square().mean().sqrt()
    assert perceptual_loss(classifier, images_BCHW, blurred_BCHW) > perceptual_loss(
        classifier, images_BCHW, images_BCHW + size
    )


def test_only_the_other_pictures_are_changed(classifier: Classifier) -> None:
    images_BCHW, _ = network_batch(3, 28, 1)
    others_BCHW = torch.zeros(3, 1, 28, 28, requires_grad=True)
    perceptual_loss(classifier, images_BCHW, others_BCHW).backward()
    assert others_BCHW.grad is not None
    assert float(others_BCHW.grad.abs().sum()) > 0
