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
from aigc_models.images.networks.vae import VAE
from aigc_models.images.settings import default_image_settings
from aigc_models.images.tasks import (
    ENCODED_AT_ONCE,
    NUM_VIEWS,
    ImageCorpus,
    finish,
    generator_task,
    grid,
    posteriors,
)
from tests.unit.aigc_models.image_cases import LABEL_NAMES, TINY, batches_held, squares

SHAPE = {"image_px": 28, "num_colours": 1, "num_classes": 2}


def corpus(num: int = 40) -> ImageCorpus:
    data = squares(num)
    classifier = train_classifier([data], 2, steps=20)
    return ImageCorpus(data, squares(20, seed=1), classifier, LABEL_NAMES, torch.device("cpu"))


def test_training_pictures_are_moved_only_where_the_settings_say_so() -> None:
    pictures, rows_B = corpus(), torch.arange(10)
    as_they_are = pictures.batch(rows_B, default_image_settings("vae"))
    torch.manual_seed(0)
    moved = pictures.batch(rows_B, default_image_settings("vae", shift_px=2))
    assert torch.equal(as_they_are.inputs, to_network(pictures.training.images_BHWC[:10]))
    assert not torch.equal(moved.inputs, as_they_are.inputs)
    assert torch.equal(moved.labels_B, as_they_are.labels_B)


def test_moved_pictures_have_latents_of_several_views_and_the_same_ones_every_time() -> None:
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


def test_features_are_read_batch_by_batch() -> None:
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


def test_a_generator_whose_weights_were_replaced_makes_the_pictures_of_its_own_statistics() -> None:
    pictures, settings = corpus(), default_image_settings("gan", num_scored=16)
    torch.manual_seed(0)
    network = build_image_network("gan", SHAPE, TINY["gan"])
    model = ImageModel("gan", network, LABEL_NAMES)
    finish(network, pictures, settings)
    first = model.sample([0, 1], [1, 2])
    with torch.no_grad():
        for weight in network.parameters():
            weight.mul_(1.5)
    finish(network, pictures, settings)
    assert not torch.equal(model.sample([0, 1], [1, 2]), first)
    with torch.no_grad():
        for weight in network.parameters():
            weight.div_(1.5)
    finish(network, pictures, settings)
    assert int((model.sample([0, 1], [1, 2]).int() - first.int()).abs().max()) <= 1


def test_validation_is_a_distance_and_samples_are_a_grid() -> None:
    task = generator_task(
        corpus(),
        build_image_network("gan", SHAPE, TINY["gan"]),
        default_image_settings("gan", num_scored=16),
    )
    assert task.validate(torch.nn.Identity()) > 0
    assert task.samples is not None
    assert task.samples(torch.nn.Identity()).shape == (1, 2 * 28, 8 * 28)


def test_a_grid_has_whole_rows_or_the_few_pictures_there_are() -> None:
    pictures_BHWC = torch.zeros(11, 4, 4, 1)
    assert grid(pictures_BHWC, 5).shape == (1, 8, 20)
    assert grid(pictures_BHWC[:3], 5).shape == (1, 4, 12)
