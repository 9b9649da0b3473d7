"""Filters for generated pictures: odd ones, and near copies of training pictures.

Their limits come from real pictures that neither filter has seen.

B batch, N training pictures, C colours, H height, W width.
"""

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import torch
from torch import Tensor, nn

from aigc_models.checkpoint import (
    CONFIG,
    WEIGHTS,
    CheckpointError,
    read_weights,
    write_json,
    write_tensors,
)
from aigc_models.device import resolve_device, to_device
from aigc_models.images.data import EpochSchedule, LabelledImages, split, to_network
from aigc_models.images.metrics import Neighbours
from aigc_models.images.networks.autoencoder import (
    Autoencoder,
    AutoencoderConfig,
    reconstruction_errors,
)
from aigc_models.training.loop import TrainingLoop
from aigc_models.training.settings import LoopSettings, TrainingProgress
from aigc_models.training.step import Task

WIDTH = 8
"""Width of the autoencoder: half that of generators, since every picture passes through it."""
BATCH_SIZE = 64
VALIDATION_SHARE = 0.1
RECONSTRUCTED_AT_ONCE = 64


class OddityFilter:
    """An autoencoder of real pictures and the reconstruction error above which a picture is odd."""

    def __init__(self, network: Autoencoder, limit: float) -> None:
        self.network = network.eval()
        self.limit = limit

    @classmethod
    def load(cls, folder: Path, *, device: str = "cpu") -> "OddityFilter":
        """Reads a folder; raises `CheckpointError`, which names what is missing or damaged."""
        config, tensors = read_weights(folder)
        try:
            network = Autoencoder(AutoencoderConfig(**config["network"]))
            network.load_state_dict(tensors)
            return cls(network.to(device), config["limit"])
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise CheckpointError(f"{folder} is not an oddity filter: {error}") from error

    def save(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        write_tensors(folder / WEIGHTS, self.network.state_dict())
        write_json(folder / CONFIG, {"network": asdict(self.network.config), "limit": self.limit})

    @torch.inference_mode()
    def errors(self, images_BHWC: Tensor) -> Tensor:
        """Reconstruction error [B] of each picture."""
        device = next(self.network.parameters()).device
        errors = []
        for batch_BHWC in images_BHWC.split(RECONSTRUCTED_AT_ONCE):
            images_BCHW = to_network(batch_BHWC).to(device)
            errors.append(reconstruction_errors(images_BCHW, self.network(images_BCHW)).cpu())
        return torch.cat(errors)


def train_oddity_filter(
    data: LabelledImages,
    settings: LoopSettings,
    work_dir: Path,
    *,
    real_share: float = 0.99,
    on_progress: Callable[[TrainingProgress], None] | None = None,
) -> OddityFilter:
    """Trains the autoencoder; `real_share` of held-out real pictures are below the limit.

    Resumes from the state in `work_dir`, if there is one.
    """
    torch.set_num_threads(settings.num_threads)
    torch.manual_seed(settings.seed)
    training, held_out = split(data, VALIDATION_SHARE, settings.seed)
    device = resolve_device(settings.device)
    _, image_px, _, num_colours = data.images_BHWC.shape
    network = Autoencoder(
        AutoencoderConfig(image_px=image_px, num_colours=num_colours, width=WIDTH)
    ).to(device)
    schedule = EpochSchedule(len(training), BATCH_SIZE, settings.seed)
    oddities = OddityFilter(network, 0.0)

    def batch_at(step: int) -> Tensor:
        images_BHWC = training.images_BHWC[schedule.rows_at(step)]
        return to_device(to_network(images_BHWC), device)

    def loss(network: nn.Module, images_BCHW: Tensor) -> tuple[Tensor, int]:
        return reconstruction_errors(images_BCHW, network(images_BCHW)).mean(), len(images_BCHW)

    def validate(_: nn.Module) -> float:
        return float(oddities.errors(held_out.images_BHWC).mean())

    task = Task(batch_at=batch_at, loss=loss, validate=validate)
    TrainingLoop(network, task, settings, work_dir, on_progress).run()
    errors_B = OddityFilter(network, 0.0).errors(held_out.images_BHWC)
    return OddityFilter(network, limit=float(errors_B.double().quantile(real_share)))


class NearCopyFilter:
    """Finds pictures that are much nearer to one training picture than to all others."""

    def __init__(self, training_NHWC: Tensor, limit: float) -> None:
        """`training_NHWC`: training pictures without duplicates, uint8. `limit`: pictures with a
        smaller ratio of distances are near copies."""
        self.training_NHWC = training_NHWC
        self.limit = limit
        self._neighbours = Neighbours(training_NHWC.flatten(1) / 255.0)

    @classmethod
    def fit(
        cls, training_NHWC: Tensor, held_out_BHWC: Tensor, *, real_share: float = 0.99
    ) -> "NearCopyFilter":
        """Sets the limit so that `real_share` of the held-out real pictures are not near copies.

        Duplicate training pictures are dropped: a copy of two equal pictures would not be nearer to
        one than to the other.
        """
        unique_NF = training_NHWC.flatten(1).unique(dim=0)
        unique_NHWC = unique_NF.unflatten(1, training_NHWC.shape[1:])
        ratios_B = cls(unique_NHWC, limit=0.0).ratios(held_out_BHWC)
        return cls(unique_NHWC, limit=float(ratios_B.double().quantile(1 - real_share)))

    @classmethod
    def load(cls, folder: Path, *, device: str = "cpu") -> "NearCopyFilter":
        """Reads a folder; raises `CheckpointError`, which names what is missing or damaged."""
        config, tensors = read_weights(folder)
        try:
            return cls(tensors["training_NHWC"].to(device), config["limit"])
        except KeyError as error:
            raise CheckpointError(f"{folder} is not a near-copy filter: no {error}") from error

    def save(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        write_tensors(folder / WEIGHTS, {"training_NHWC": self.training_NHWC})
        write_json(folder / CONFIG, {"limit": self.limit})

    @torch.inference_mode()
    def ratios(self, images_BHWC: Tensor) -> Tensor:
        """Distance [B] to the nearest training picture, divided by that to the second nearest."""
        images_BF = images_BHWC.to(self.training_NHWC.device).flatten(1) / 255.0
        return self._neighbours.ratios(images_BF).cpu()
