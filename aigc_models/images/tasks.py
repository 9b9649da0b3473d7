"""Training stages of each image family: what is trained, on which batches, by which loss and
validation, and what has to be fitted afterwards.

Weights are selected by the Fréchet distance of generated to held-out pictures, since a low loss
does not mean good pictures. Only the autoencoder of a flow, which does not generate pictures by
itself, is selected by its loss.

B batch, N all training pictures, C colours, H height, W width, Z latent width.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from aigc_models.device import to_device
from aigc_models.images.classifier import Classifier, image_features
from aigc_models.images.data import (
    Batch,
    EpochSchedule,
    LabelledImages,
    mirror,
    shift,
    to_network,
    to_pixels,
)
from aigc_models.images.families import ImageNetwork
from aigc_models.images.gan_step import GANStep
from aigc_models.images.metrics import frechet_distance
from aigc_models.images.model import ImageModel
from aigc_models.images.networks.flow import LatentFlow, flow_matching_loss
from aigc_models.images.networks.gan import GAN, Generator
from aigc_models.images.networks.vae import VAE, sample_posterior, vae_loss
from aigc_models.images.perceptual import perceptual_loss
from aigc_models.images.settings import ImageTrainingSettings
from aigc_models.noise import normals
from aigc_models.seeds import derive_seed
from aigc_models.training.step import Task

ENCODED_AT_ONCE = 256
GRID_ROWS = 8
MAX_GRID_CLASSES = 10
NUM_VIEWS = 8
"""Random shifts of each training picture, if all pictures are encoded once."""
CALIBRATION_BATCHES, CALIBRATION_IMAGES = 20, 128


@dataclass(frozen=True, slots=True)
class ImageCorpus:
    """The pictures for training and validation, and the classifier for validation."""

    training: LabelledImages
    held_out: LabelledImages
    classifier: Classifier
    label_names: tuple[str, ...]
    device: torch.device

    def batch(self, rows_B: Tensor, settings: ImageTrainingSettings) -> Batch:
        """Training pictures, randomly shifted and mirrored if the settings say so."""
        data = self.training.select(rows_B)
        images_BCHW = to_network(data.images_BHWC)
        if settings.flip:
            images_BCHW = mirror(images_BCHW)
        if settings.shift_px:
            images_BCHW = shift(images_BCHW, settings.shift_px)
        return Batch(to_device(images_BCHW, self.device), to_device(data.labels_B, self.device))

    def labels_like_real(self, num: int) -> list[int]:
        """Labels with the same shares as in the training pictures."""
        places = (torch.arange(num) + 0.5) * len(self.training) / num
        return self.training.labels_B.sort().values[places.long()].tolist()

    def distance(self, images_BHWC: Tensor) -> float:
        """Fréchet distance to the held-out pictures."""
        real_RF = image_features(self.classifier, self.held_out.images_BHWC)
        return frechet_distance(image_features(self.classifier, images_BHWC), real_RF)


@dataclass(frozen=True, slots=True)
class Stage:
    """One training loop."""

    network: nn.Module
    """The network whose weights are trained."""
    task: Task
    finish: Callable[[], None]
    """Fits what depends on the trained weights. Validation does so, too."""


def autoencoder_stage(
    network: LatentFlow, corpus: ImageCorpus, settings: ImageTrainingSettings
) -> Stage:
    """The first stage of a flow: trains its VAE, and selects weights by their loss."""
    vae = network.vae

    def loss(network: nn.Module, batch: Batch) -> tuple[Tensor, int]:
        return _vae_loss(network, batch, corpus.classifier), len(batch.labels_B)

    def validate(network: nn.Module) -> float:
        torch.manual_seed(settings.seed)
        images_BCHW = to_network(corpus.held_out.images_BHWC).to(corpus.device)
        labels_B = corpus.held_out.labels_B.to(corpus.device)
        total = 0.0
        for batch_BCHW, batch_labels_B in zip(
            images_BCHW.split(ENCODED_AT_ONCE), labels_B.split(ENCODED_AT_ONCE), strict=True
        ):
            mean, num_rows = loss(network, Batch(batch_BCHW, batch_labels_B))
            total += float(mean) * num_rows
        return total / len(labels_B)

    def samples(network: nn.Module) -> Tensor:
        shown = corpus.held_out.select(torch.arange(min(GRID_ROWS**2, len(corpus.held_out))))
        images_BCHW = to_network(shown.images_BHWC).to(corpus.device)
        reconstructed_BCHW, *_ = network(images_BCHW, shown.labels_B.to(corpus.device))
        return grid(to_pixels(reconstructed_BCHW).cpu(), GRID_ROWS)

    batch_at = _batches(corpus, settings)
    task = Task(batch_at=batch_at, loss=loss, validate=validate, samples=samples)
    return Stage(vae, task, finish=lambda: fit_prior(vae, corpus, settings))


def flow_stage(network: LatentFlow, corpus: ImageCorpus, settings: ImageTrainingSettings) -> Stage:
    """The second stage of a flow: trains its velocity in the latents of the trained VAE."""

    def loss(velocity: nn.Module, batch: Batch) -> tuple[Tensor, int]:
        return flow_matching_loss(velocity, batch.inputs, batch.labels_B), len(batch.labels_B)

    def finish() -> None:
        pass  # nothing depends on the velocity's weights

    samples = GeneratedSamples(network, corpus, settings, finish)
    latents = WhitenedLatents(network.vae, corpus, settings)
    task = Task(
        batch_at=latents.batch_at, loss=loss, validate=samples.distance, samples=samples.grid
    )
    return Stage(network.velocity, task, finish)


def gan_stage(network: Generator, corpus: ImageCorpus, settings: ImageTrainingSettings) -> Stage:
    """Trains a generator together with a discriminator, which is dropped afterwards."""
    gan = GAN(network, is_spectral=settings.loss == "hinge")
    gan = gan.to(next(network.parameters()).device)

    def finish() -> None:
        calibrate(network, corpus)

    samples = GeneratedSamples(network, corpus, settings, finish)
    task = Task(
        batch_at=_batches(corpus, settings),
        step=lambda gan: GANStep(gan, settings),
        validate=samples.distance,
        samples=samples.grid,
    )
    return Stage(gan, task, finish)


def vae_stage(network: VAE, corpus: ImageCorpus, settings: ImageTrainingSettings) -> Stage:
    """Trains a VAE, and selects weights by its generated pictures."""

    def loss(network: nn.Module, batch: Batch) -> tuple[Tensor, int]:
        return _vae_loss(network, batch, corpus.classifier), len(batch.labels_B)

    def finish() -> None:
        fit_prior(network, corpus, settings)

    samples = GeneratedSamples(network, corpus, settings, finish)
    task = Task(
        batch_at=_batches(corpus, settings),
        loss=loss,
        validate=samples.distance,
        samples=samples.grid,
    )
    return Stage(network, task, finish)


GENERATOR_STAGES: dict[str, Callable[[Any, ImageCorpus, ImageTrainingSettings], Stage]] = {
    "flow": flow_stage,
    "gan": gan_stage,
    "vae": vae_stage,
}
"""By family: the stage after which the network generates pictures."""


def _batches(corpus: ImageCorpus, settings: ImageTrainingSettings) -> Callable[[int], Batch]:
    schedule = EpochSchedule(len(corpus.training), settings.batch_size, settings.seed)
    return lambda step: corpus.batch(schedule.rows_at(step), settings)


def _vae_loss(network: nn.Module, batch: Batch, classifier: Classifier) -> Tensor:
    """The loss of the pixels plus that of the classifier's features."""
    reconstructed_BCHW, *posterior = network(batch.inputs, batch.labels_B)
    perceptual = perceptual_loss(classifier, batch.inputs, reconstructed_BCHW)
    return vae_loss(batch.inputs, reconstructed_BCHW, *posterior) + perceptual


class GeneratedSamples:
    """Validates a network by the pictures it generates, always from the same seeds."""

    def __init__(
        self,
        network: ImageNetwork,
        corpus: ImageCorpus,
        settings: ImageTrainingSettings,
        finish: Callable[[], None],
    ) -> None:
        self.model = ImageModel(settings.family, network, corpus.label_names)
        self.corpus = corpus
        self.seed = settings.seed
        self.labels = corpus.labels_like_real(settings.num_scored)
        self.finish = finish

    def distance(self, _: nn.Module) -> float:
        """Fréchet distance to the held-out pictures, of the weights that the network now has."""
        self.finish()
        return self.corpus.distance(self._generate(self.labels))

    def grid(self, _: nn.Module) -> Tensor:
        """A picture [C, H, W] with a row of samples for each of the first classes."""
        num_classes = min(len(self.corpus.label_names), MAX_GRID_CLASSES)
        labels = [label for label in range(num_classes) for _ in range(GRID_ROWS)]
        return grid(self._generate(labels), GRID_ROWS)

    def _generate(self, labels: list[int]) -> Tensor:
        seeds = [derive_seed(self.seed, i) for i in range(len(labels))]
        return self.model.sample(labels, seeds)


@torch.no_grad()
def fit_prior(network: VAE, corpus: ImageCorpus, settings: ImageTrainingSettings) -> None:
    network.fit_prior(*posteriors(network, corpus, settings))


@torch.no_grad()
def calibrate(network: Generator, corpus: ImageCorpus) -> None:
    """Recomputes the norms' statistics on random batches, always the same ones."""
    labels_B = torch.tensor(corpus.labels_like_real(CALIBRATION_IMAGES), device=corpus.device)
    batches = []
    for number in range(CALIBRATION_BATCHES):
        first_seed = number * CALIBRATION_IMAGES
        seeds_B = torch.arange(CALIBRATION_IMAGES, device=corpus.device) + first_seed
        batches.append((normals(seeds_B, network.noise_width), labels_B))
    network.calibrate(batches)


@torch.no_grad()
def posteriors(
    network: VAE, corpus: ImageCorpus, settings: ImageTrainingSettings
) -> tuple[Tensor, Tensor, Tensor]:
    """Means and log variances [N, Z] of all training pictures, and their labels.

    Several views of each picture if training shifts or mirrors them.
    """
    torch.manual_seed(settings.seed)
    num_views = NUM_VIEWS if settings.shift_px else 1 + settings.flip
    rows_N = torch.arange(len(corpus.training)).repeat(num_views)
    means, log_variances, labels = [], [], []
    for rows_B in rows_N.split(ENCODED_AT_ONCE):
        batch = corpus.batch(rows_B, settings)
        mean_BZ, log_variance_BZ = network.encode(batch.inputs, batch.labels_B)
        means.append(mean_BZ)
        log_variances.append(log_variance_BZ)
        labels.append(batch.labels_B)
    return torch.cat(means), torch.cat(log_variances), torch.cat(labels)


class WhitenedLatents:
    """The training batches of a flow: latents of pictures that are encoded once, drawn from their
    posteriors in each step, and whitened."""

    def __init__(self, vae: VAE, corpus: ImageCorpus, settings: ImageTrainingSettings) -> None:
        self.vae = vae
        self.mean_NZ, self.log_variance_NZ, self.labels_N = posteriors(vae, corpus, settings)
        self.schedule = EpochSchedule(len(self.labels_N), settings.batch_size, settings.seed)

    def batch_at(self, step: int) -> Batch:
        rows_B = to_device(self.schedule.rows_at(step), self.labels_N.device)
        latents_BZ = sample_posterior(self.mean_NZ[rows_B], self.log_variance_NZ[rows_B])
        return Batch(self.vae.whiten(latents_BZ, self.labels_N[rows_B]), self.labels_N[rows_B])


def grid(images_BHWC: Tensor, num_columns: int) -> Tensor:
    """Arranges pictures in rows as one picture [C, H, W].

    Drops an incomplete last row; fewer pictures than columns make one row.
    """
    width = min(num_columns, len(images_BHWC))
    rows = [torch.cat(list(row), dim=1) for row in images_BHWC.split(width) if len(row) == width]
    return torch.cat(rows, dim=0).permute(2, 0, 1)
