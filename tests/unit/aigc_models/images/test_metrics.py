import pytest
import torch

from aigc_models.images.classifier import accuracy, image_features, train_classifier
from aigc_models.images.data import LabelledImages
from aigc_models.images.metrics import (
    augmentation_gain,
    diversity,
    duplicate_share,
    frechet_distance,
    image_metrics,
    near_copy_share,
    nearest_two,
)
from tests.unit.aigc_models.image_cases import squares


def noise_pictures(num: int, seed: int) -> LabelledImages:
    generator = torch.Generator().manual_seed(seed)
    return LabelledImages(
        torch.randint(0, 256, (num, 8, 8, 1), generator=generator).to(torch.uint8),
        torch.arange(num) % 2,
    )


def test_the_distance_of_known_gaussians() -> None:
    torch.manual_seed(0)
    first_BF = torch.randn(100_000, 3, dtype=torch.float64)
    second_BF = torch.randn(100_000, 3, dtype=torch.float64) * torch.tensor([1.0, 2.0, 3.0]) + 1.0
    # |1, 1, 1|² + Σ (1 - σ)² = 3 + 0 + 1 + 4
    assert frechet_distance(first_BF, second_BF) == pytest.approx(8.0, rel=0.02)
    assert frechet_distance(first_BF, first_BF) == pytest.approx(0.0, abs=1e-9)


def test_the_distance_sees_correlations() -> None:
    torch.manual_seed(0)
    first_BF = torch.randn(100_000, 2, dtype=torch.float64)
    second_BF = torch.stack([first_BF[:, 0], first_BF[:, 0]], dim=1)
    # Σ₂ has the eigenvalues 2 and 0: tr Σ₁ + tr Σ₂ - 2 √2
    assert frechet_distance(first_BF, second_BF) == pytest.approx(4 - 2 * 2**0.5, rel=0.02)


def test_copies_are_found_and_new_pictures_are_not() -> None:
    training, held_out, unseen = (
        noise_pictures(num, seed) for num, seed in ((300, 1), (200, 2), (200, 3))
    )
    touched = training.images_BHWC[:200].int() + torch.randint(-2, 3, (200, 8, 8, 1))
    copies = LabelledImages(touched.clamp(0, 255).to(torch.uint8), training.labels_B[:200])
    assert near_copy_share(copies, training, held_out) == 1.0
    assert near_copy_share(unseen, training, held_out) < 0.05


@pytest.mark.parametrize(("num", "width"), [(3, 8), (500, 8), (500, 300), (2000, 300)])
@pytest.mark.parametrize("decay", [0.0, 1.0])
def test_the_nearest_two_are_those_of_all_distances(num: int, width: int, decay: float) -> None:
    torch.manual_seed(0)
    # 0: all components vary equally
    scales_F = torch.arange(1, width + 1).float() ** -decay
    pictures_BF = torch.randn(100, width) * scales_F + 1.0
    others_RF = torch.randn(num, width) * scales_F + 1.0
    wanted_B2 = torch.cdist(pictures_BF.double(), others_RF.double()).topk(2, largest=False).values
    torch.testing.assert_close(
        nearest_two(pictures_BF, others_RF).double(), wanted_B2, rtol=1e-5, atol=1e-5
    )
    assert nearest_two(others_RF, others_RF)[:, 0].max() == 0.0, "each is nearest to itself"


def test_half_the_spread_is_half_the_diversity() -> None:
    torch.manual_seed(0)
    real_RF, labels_R = torch.randn(200, 4), torch.arange(200) % 2
    narrow_BF = torch.where(labels_R[:, None] == 1, 0.5, 1.0) * real_RF
    found = diversity(narrow_BF, labels_R, real_RF, labels_R)
    assert found["diversity"] == pytest.approx(0.75)
    assert found["lowest_diversity"] == pytest.approx(0.5)


def test_duplicates_are_counted() -> None:
    images = noise_pictures(4, 0).images_BHWC
    assert duplicate_share(torch.cat([images, images[:1]])) == pytest.approx(0.2)


def test_a_classifier_learns_and_its_features_do_not_depend_on_the_batch() -> None:
    training, test = squares(200), squares(60, seed=1)
    classifier = train_classifier([training], 2, steps=30)
    assert accuracy(classifier, test) > 0.95
    features_BF = image_features(classifier, test.images_BHWC)
    assert features_BF.shape == (60, 64)
    torch.testing.assert_close(
        image_features(classifier, test.images_BHWC[:5]), features_BF[:5], rtol=1e-4, atol=1e-4
    )


def test_pictures_with_wrong_labels_have_a_low_score() -> None:
    training, held_out, other = squares(300), squares(100, seed=1), squares(300, seed=2)
    classifier = train_classifier([training], 2, steps=40)
    right = image_metrics(other, training, held_out, classifier, steps=40)
    wrong = image_metrics(
        LabelledImages(other.images_BHWC, 1 - other.labels_B),
        training,
        held_out,
        classifier,
        steps=40,
    )
    assert right["cas"] > 0.95
    assert wrong["cas"] < 0.05
    assert right["cas_real"] > 0.95
    assert right["diversity"] == pytest.approx(1.0, abs=0.2)


def test_good_pictures_raise_the_accuracy_and_misleading_ones_lower_it() -> None:
    few, more, test = squares(4), squares(200, seed=1), squares(100, seed=2)
    misleading = LabelledImages(more.images_BHWC, 1 - more.labels_B)
    good = augmentation_gain(few, more, test, 2, num_seeds=1, steps=30)
    bad = augmentation_gain(few, misleading, test, 2, num_seeds=1, steps=30)
    assert good["real_synthetic"] >= good["real"]
    assert bad["gain"] < -0.2
