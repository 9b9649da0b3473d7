"""Small cases of every kind of training, for tests of single steps."""

from aigc_models.images.classifier import train_classifier
from aigc_models.images.families import ImageNetwork, build_image_network
from aigc_models.images.networks.flow import LatentFlow
from aigc_models.images.settings import default_image_settings
from aigc_models.images.tasks import GENERATOR_STAGES, ImageCorpus, autoencoder_stage
from aigc_models.images.training import autoencoder_settings
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
    settings = default_image_settings(family, batch_size=8, shift_px=2, augment=True)
    stage = GENERATOR_STAGES[family](image_network(family), corpus(), settings)
    return Case(stage.network, stage.task, settings)


def autoencoder() -> Case:
    network = image_network("flow")
    assert isinstance(network, LatentFlow)
    settings = autoencoder_settings(default_image_settings("flow", batch_size=8))
    stage = autoencoder_stage(network, corpus(), settings)
    return Case(stage.network, stage.task, settings)


def image_network(family: str) -> ImageNetwork:
    return build_image_network(
        family, {"image_px": 28, "num_colours": 1, "num_classes": 2}, TINY[family]
    )


def corpus() -> ImageCorpus:
    data = squares(40)
    classifier = train_classifier([data], 2, steps=2).requires_grad_(False)
    return ImageCorpus(data, squares(20, seed=1), classifier, LABEL_NAMES, CPU)
