"""What the training loop is given for each image family: batches, loss, and the figure that the
best weights have.

Weights are chosen by the Fréchet distance of held-out pictures, since losses say little of what
pictures are like; only the autoencoder below a flow, which makes none by itself, is chosen by its
loss.

B batch, N all training pictures, C colours, H height, W width, Z latent width.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from aigc_models.device import sent
from aigc_models.images.classifier import Classifier, image_features
from aigc_models.images.data import (
    Batch,
    EpochSchedule,
    LabelledImages,
    mirrored,
    shifted,
    to_network,
    to_pixels,
)
from aigc_models.images.families import ImageNetwork
from aigc_models.images.gan_step import GANStep
from aigc_models.images.metrics import frechet_distance
from aigc_models.images.model import ImageModel
from aigc_models.images.networks.flow import LatentFlow, flow_matching_loss
from aigc_models.images.networks.gan import Generator
from aigc_models.images.networks.vae import VAE, sample_posterior, vae_loss
from aigc_models.images.perceptual import perceptual_loss
from aigc_models.images.settings import ImageTrainingSettings
from aigc_models.noise import normals
from aigc_models.seeds import derive_seed
from aigc_models.training.loop import Task

ENCODED_AT_ONCE = 256
GRID_ROWS = 8
NUM_VIEWS = 8
"""Of a training picture that may be moved, for what is done once with all of them."""
CALIBRATION_BATCHES, CALIBRATION_IMAGES = 20, 128


@dataclass(frozen=True, slots=True)
class ImageCorpus:
    """What is trained and validated on, and the classifier that validates."""

    training: LabelledImages
    held_out: LabelledImages
    classifier: Classifier
    label_names: tuple[str, ...]
    device: torch.device

    def batch(self, rows_B: Tensor, settings: ImageTrainingSettings) -> Batch:
        """Training pictures, moved and mirrored at random as the settings say."""
        data = self.training.select(rows_B)
        images_BCHW = to_network(data.images_BHWC)
        images_BCHW = mirrored(images_BCHW) if settings.flip else images_BCHW
        images_BCHW = shifted(images_BCHW, settings.shift_px) if settings.shift_px else images_BCHW
        return Batch(sent(images_BCHW, self.device), sent(data.labels_B, self.device))

    def labels_like_real(self, num: int) -> list[int]:
        """Labels with the shares that the training pictures have."""
        places = (torch.arange(num) + 0.5) * len(self.training) / num
        return self.training.labels_B.sort().values[places.long()].tolist()

    def distance(self, images_BHWC: Tensor) -> float:
        real_RF = image_features(self.classifier, self.held_out.images_BHWC)
        return frechet_distance(image_features(self.classifier, images_BHWC), real_RF)


def autoencoder_task(corpus: ImageCorpus, settings: ImageTrainingSettings) -> Task:
    """Trains a VAE by its bound, as the first stage of a flow."""
    schedule = EpochSchedule(len(corpus.training), settings.batch_size, settings.seed)

    def loss(network: nn.Module, batch: Batch) -> tuple[Tensor, int]:
        return loss_of_vae(network, batch, corpus.classifier), len(batch.labels_B)

    def validate(network: nn.Module) -> float:
        torch.manual_seed(settings.seed)
        images_BCHW = to_network(corpus.held_out.images_BHWC).to(corpus.device)
        labels_B = corpus.held_out.labels_B.to(corpus.device)
        parts = zip(
            images_BCHW.split(ENCODED_AT_ONCE), labels_B.split(ENCODED_AT_ONCE), strict=True
        )
        losses = [
            (loss(network, Batch(images, labels))[0], len(labels)) for images, labels in parts
        ]
        return sum(float(value) * count for value, count in losses) / len(labels_B)

    def samples(network: nn.Module) -> Tensor:
        images_BCHW = to_network(corpus.held_out.images_BHWC[: GRID_ROWS**2]).to(corpus.device)
        reconstructed_BCHW = network(
            images_BCHW, corpus.held_out.labels_B[: GRID_ROWS**2].to(corpus.device)
        )[0]
        return grid(to_pixels(reconstructed_BCHW).cpu(), GRID_ROWS)

    def batch_at(step: int) -> Batch:
        return corpus.batch(schedule.rows_at(step), settings)

    return Task(batch_at=batch_at, loss=loss, validate=validate, samples=samples)


def loss_of_vae(network: nn.Module, batch: Batch, classifier: Classifier) -> Tensor:
    """Of the pixels, and of what they show."""
    reconstructed_BCHW, *posterior = network(batch.inputs, batch.labels_B)
    seen = perceptual_loss(classifier, batch.inputs, reconstructed_BCHW)
    return vae_loss(batch.inputs, reconstructed_BCHW, *posterior) + seen


def generator_task(
    corpus: ImageCorpus, network: ImageNetwork, settings: ImageTrainingSettings
) -> Task:
    """Trains what is left to train of a network: a VAE, a GAN, or a flow above its finished
    autoencoder."""
    labels = corpus.labels_like_real(settings.num_scored)
    model = ImageModel(settings.family, network, corpus.label_names)

    def made(labels: list[int]) -> Tensor:
        return model.sample(labels, [derive_seed(settings.seed, i) for i in range(len(labels))])

    def validate(_: nn.Module) -> float:
        finish(network, corpus, settings)
        return corpus.distance(made(labels))

    def samples(_: nn.Module) -> Tensor:
        classes = range(min(len(corpus.label_names), GRID_ROWS + 2))
        return grid(made([label for label in classes for _ in range(GRID_ROWS)]), GRID_ROWS)

    if isinstance(network, LatentFlow):
        latents = WhitenedLatents(network.vae, corpus, settings)
        return Task(
            batch_at=latents.batch_at, loss=latents.loss, validate=validate, samples=samples
        )
    schedule = EpochSchedule(len(corpus.training), settings.batch_size, settings.seed)

    def loss(network: nn.Module, batch: Batch) -> tuple[Tensor, int]:
        return loss_of_vae(network, batch, corpus.classifier), len(batch.labels_B)

    def batch_at(step: int) -> Batch:
        return corpus.batch(schedule.rows_at(step), settings)

    if isinstance(network, Generator):
        return Task(
            batch_at=batch_at,
            step=lambda gan: GANStep(gan, settings),
            validate=validate,
            samples=samples,
        )
    return Task(batch_at=batch_at, loss=loss, validate=validate, samples=samples)


@torch.no_grad()
def finish(network: ImageNetwork, corpus: ImageCorpus, settings: ImageTrainingSettings) -> None:
    """What follows from the weights: a VAE's Gaussians, the statistics of a GAN's norms."""
    if isinstance(network, VAE):
        network.fit_prior(*posteriors(network, corpus, settings))
    if isinstance(network, Generator):
        network.calibrate(
            [calibration_batch(network, corpus, number) for number in range(CALIBRATION_BATCHES)]
        )


def calibration_batch(
    network: Generator, corpus: ImageCorpus, number: int
) -> tuple[Tensor, Tensor]:
    """Noise and labels with the shares that the training pictures have, always the same ones."""
    labels_B = torch.tensor(corpus.labels_like_real(CALIBRATION_IMAGES), device=corpus.device)
    seeds_B = torch.arange(CALIBRATION_IMAGES, device=corpus.device) + number * CALIBRATION_IMAGES
    return normals(seeds_B, network.noise_width), labels_B


@torch.no_grad()
def posteriors(
    network: VAE, corpus: ImageCorpus, settings: ImageTrainingSettings
) -> tuple[Tensor, Tensor, Tensor]:
    """Means and logarithms of variances [N, Z] of all training pictures, and their labels; of
    several views of each where training moves or mirrors them."""
    torch.manual_seed(settings.seed)
    num_views = NUM_VIEWS if settings.shift_px else 1 + settings.flip
    rows_N = torch.arange(len(corpus.training)).repeat(num_views)
    batches = (corpus.batch(rows_B, settings) for rows_B in rows_N.split(ENCODED_AT_ONCE))
    found = [(*network.encode(batch.inputs, batch.labels_B), batch.labels_B) for batch in batches]
    means, log_variances, labels = zip(*found, strict=True)
    return torch.cat(means), torch.cat(log_variances), torch.cat(labels)


class WhitenedLatents:
    """Training pictures as a flow sees them: encoded once, drawn from their posteriors at every
    step, whitened."""

    def __init__(self, vae: VAE, corpus: ImageCorpus, settings: ImageTrainingSettings) -> None:
        self.vae = vae
        self.mean_NZ, self.log_variance_NZ, self.labels_N = posteriors(vae, corpus, settings)
        self.schedule = EpochSchedule(len(self.labels_N), settings.batch_size, settings.seed)

    def batch_at(self, step: int) -> Batch:
        rows_B = sent(self.schedule.rows_at(step), self.labels_N.device)
        latents_BZ = sample_posterior(self.mean_NZ[rows_B], self.log_variance_NZ[rows_B])
        return Batch(self.vae.whiten(latents_BZ, self.labels_N[rows_B]), self.labels_N[rows_B])

    @staticmethod
    def loss(network: nn.Module, batch: Batch) -> tuple[Tensor, int]:
        return flow_matching_loss(network, batch.inputs, batch.labels_B), len(batch.labels_B)


def grid(images_BHWC: Tensor, num_columns: int) -> Tensor:
    """One picture [C, H, W] of many, row by row; what does not fill a row is left out, unless there
    is only that."""
    width = min(num_columns, len(images_BHWC))
    rows = [torch.cat(list(row), dim=1) for row in images_BHWC.split(width) if len(row) == width]
    return torch.cat(rows, dim=0).permute(2, 0, 1)
