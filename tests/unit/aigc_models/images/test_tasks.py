import torch

from aigc_models.images.classifier import (
    EVALUATED_AT_ONCE,
    Classifier,
    image_features,
    train_classifier,
)
from aigc_models.images.data import to_network
from aigc_models.images.families import build_image_network
from aigc_models.images.model import ImageModel
from aigc_models.images.networks.gan import Generator
from aigc_models.images.networks.vae import VAE
from aigc_models.images.settings import default_image_settings
from aigc_models.images.tasks import (
    ENCODED_AT_ONCE,
    NUM_VIEWS,
    ImageCorpus,
    calibrate,
    gan_stage,
    grid,
    posteriors,
)
from tests.unit.aigc_models.image_cases import LABEL_NAMES, TINY, batches_held, squares

SHAPE = {"image_px": 28, "num_colours": 1, "num_classes": 2}


def corpus(num: int = 40) -> ImageCorpus:
    data = squares(num)
    classifier = train_classifier([data], 2, steps=20)
    return ImageCorpus(data, squares(20, seed=1), classifier, LABEL_NAMES, torch.device("cpu"))


def test_training_pictures_are_shifted_only_if_the_settings_say_so() -> None:
    pictures, rows_B = corpus(), torch.arange(10)
    unchanged = pictures.batch(rows_B, default_image_settings("vae"))
    torch.manual_seed(0)
    shifted = pictures.batch(rows_B, default_image_settings("vae", shift_px=2))
    assert torch.equal(unchanged.inputs, to_network(pictures.training.images_BHWC[:10]))
    assert not torch.equal(shifted.inputs, unchanged.inputs)
    assert torch.equal(shifted.labels_B, unchanged.labels_B)


def test_shifted_pictures_have_latents_of_several_views_always_the_same_ones() -> None:
    network = build_image_network("vae", SHAPE, TINY["vae"])
    assert isinstance(network, VAE)
    pictures = corpus()
    assert len(posteriors(network, pictures, default_image_settings("vae"))[2]) == 40
    views = [
        posteriors(network, pictures, default_image_settings("vae", shift_px=2)) for _ in range(2)
    ]
    assert views[0][0].shape == (40 * NUM_VIEWS, 4)
    assert all(torch.equal(first, second) for first, second in zip(*views, strict=True))


def test_all_pictures_are_encoded_batch_by_batch() -> None:
    data = squares(2 * ENCODED_AT_ONCE + 1)
    network = build_image_network("vae", SHAPE, TINY["vae"])
    assert isinstance(network, VAE)
    held = batches_held(network.encoder)
    pictures = ImageCorpus(data, data, Classifier(1, 2), LABEL_NAMES, torch.device("cpu"))
    assert torch.equal(
        posteriors(network, pictures, default_image_settings("vae", flip=False))[2], data.labels_B
    )
    assert held == [1, 1, 1]


def test_features_are_computed_batch_by_batch() -> None:
    classifier = Classifier(1, 2).eval()
    held = batches_held(classifier.features)
    assert (
        len(image_features(classifier, squares(2 * EVALUATED_AT_ONCE + 1).images_BHWC))
        == 2 * EVALUATED_AT_ONCE + 1
    )
    assert held == [1, 1, 1]


def test_labels_have_the_shares_of_the_training_pictures() -> None:
    data = squares(40).select(torch.tensor([0, 1, 2, 4, 6, 8]))  # one of the second class
    pictures = ImageCorpus(data, data, corpus().classifier, LABEL_NAMES, torch.device("cpu"))
    assert pictures.labels_like_real(12) == [0] * 10 + [1] * 2


def test_calibration_depends_only_on_the_weights() -> None:
    pictures = corpus()
    torch.manual_seed(0)
    network = build_image_network("gan", SHAPE, TINY["gan"])
    assert isinstance(network, Generator)
    model = ImageModel("gan", network, LABEL_NAMES)
    calibrate(network, pictures)
    first = model.sample([0, 1], [1, 2])
    with torch.no_grad():
        for weight in network.parameters():
            weight.mul_(1.5)
    calibrate(network, pictures)
    assert not torch.equal(model.sample([0, 1], [1, 2]), first)
    with torch.no_grad():
        for weight in network.parameters():
            weight.div_(1.5)
    calibrate(network, pictures)
    assert int((model.sample([0, 1], [1, 2]).int() - first.int()).abs().max()) <= 1


def test_validation_is_a_distance_and_samples_are_a_grid() -> None:
    network = build_image_network("gan", SHAPE, TINY["gan"])
    assert isinstance(network, Generator)
    task = gan_stage(network, corpus(), default_image_settings("gan", num_scored=16)).task
    assert task.validate(torch.nn.Identity()) > 0
    assert task.samples is not None
    assert task.samples(torch.nn.Identity()).shape == (1, 2 * 28, 8 * 28)


def test_a_grid_has_complete_rows_or_one_short_row() -> None:
    pictures_BHWC = torch.zeros(11, 4, 4, 1)
    assert grid(pictures_BHWC, 5).shape == (1, 8, 20)
    assert grid(pictures_BHWC[:3], 5).shape == (1, 4, 12)
