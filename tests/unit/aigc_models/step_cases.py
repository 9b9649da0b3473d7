"""The first steps of every training there is, on a few examples."""

from aigc_models.images.classifier import train_classifier
from aigc_models.images.families import ImageNetwork, build_image_network
from aigc_models.images.networks.flow import LatentFlow
from aigc_models.images.settings import default_image_settings
from aigc_models.images.tasks import ImageCorpus, autoencoder_task, generator_task
from aigc_models.images.training import autoencoder_settings, what_is_trained
from tests.unit.aigc_models.data_parallel_cases import CPU, Case, recommender, text
from tests.unit.aigc_models.image_cases import LABEL_NAMES, TINY, squares

COMPILED = [
    "text gpt",
    "recommender gpt",
    "recommender bert",
    "picture vae",
    "picture gan",
    "picture flow",
    "autoencoder",
]
RECURRENT = ["text lstm", "text gru", "text rnn", "recommender gru"]


def case(name: str) -> Case:
    kind, _, family = name.partition(" ")
    if kind == "text":
        return text(family)
    if kind == "recommender":
        return recommender(family)
    return pictures(family) if kind == "picture" else autoencoder()


def pictures(family: str) -> Case:
    settings, network = (
        default_image_settings(family, batch_size=8, shift_px=2, augment=True),
        image_network(family),
    )
    return Case(
        what_is_trained(network, settings), generator_task(corpus(), network, settings), settings
    )


def autoencoder() -> Case:
    network, settings = (
        image_network("flow"),
        autoencoder_settings(default_image_settings("flow", batch_size=8)),
    )
    assert isinstance(network, LatentFlow)
    return Case(network.vae, autoencoder_task(corpus(), settings), settings)


def image_network(family: str) -> ImageNetwork:
    return build_image_network(
        family, {"image_px": 28, "num_colours": 1, "num_classes": 2}, TINY[family]
    )


def corpus() -> ImageCorpus:
    data = squares(40)
    classifier = train_classifier([data], 2, steps=2).requires_grad_(False)
    return ImageCorpus(data, squares(20, seed=1), classifier, LABEL_NAMES, CPU)
