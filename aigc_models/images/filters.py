"""Which synthetic pictures are not worth keeping: odd ones, and near copies of training pictures.

Limits come from real pictures that neither filter has seen.

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
from aigc_models.device import resolve_device, sent
from aigc_models.images.data import EpochSchedule, LabelledImages, split, to_network
from aigc_models.images.metrics import Neighbours
from aigc_models.images.networks.autoencoder import (
    Autoencoder,
    AutoencoderConfig,
    reconstruction_errors,
)
from aigc_models.training.loop import Task, TrainingLoop
from aigc_models.training.settings import LoopSettings, TrainingProgress

WIDTH = 8
"""Of the autoencoder: half the generators', since every picture has to pass it."""
BATCH_SIZE = 64
VALIDATION_SHARE = 0.1
RECONSTRUCTED_AT_ONCE = 64


class OddityFilter:
    """An autoencoder of real pictures and the reconstruction error above which a picture is odd."""

    def __init__(self, network: Autoencoder, limit: float) -> None:
        self.network, self.limit = network.eval(), limit

    @classmethod
    def load(cls, folder: Path, *, device: str = "cpu") -> "OddityFilter":
        """Raises `CheckpointError` naming what is missing or unreadable."""
        config, tensors = read_weights(folder)
        try:
            network = Autoencoder(AutoencoderConfig(**config["network"]))
            network.load_state_dict(tensors)
            return cls(network.to(device), config["limit"])
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise CheckpointError(
                f"{folder}: this is no checkpoint of an oddity filter: {error}"
            ) from error

    def save(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        write_tensors(folder / WEIGHTS, self.network.state_dict())
        write_json(folder / CONFIG, {"network": asdict(self.network.config), "limit": self.limit})

    @torch.inference_mode()
    def errors(self, images_BHWC: Tensor) -> Tensor:
        """Reconstruction error [B] of each picture."""
        device = next(self.network.parameters()).device
        batches = (
            to_network(images).to(device) for images in images_BHWC.split(RECONSTRUCTED_AT_ONCE)
        )
        return torch.cat(
            [reconstruction_errors(images, self.network(images)).cpu() for images in batches]
        )


def train_oddity_filter(
    data: LabelledImages,
    settings: LoopSettings,
    work_dir: Path,
    *,
    real_share: float = 0.99,
    on_progress: Callable[[TrainingProgress], None] | None = None,
) -> OddityFilter:
    """`real_share` of held-out real pictures lie below the limit. Goes on from `work_dir` as every
    training does."""
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
        return sent(to_network(training.images_BHWC[schedule.rows_at(step)]), device)

    def loss(network: nn.Module, images_BCHW: Tensor) -> tuple[Tensor, int]:
        return reconstruction_errors(images_BCHW, network(images_BCHW)).mean(), len(images_BCHW)

    def validate(_: nn.Module) -> float:
        return float(oddities.errors(held_out.images_BHWC).mean())

    task = Task(batch_at=batch_at, loss=loss, validate=validate)
    TrainingLoop(network, task, settings, work_dir, on_progress).run()
    errors_B = OddityFilter(network, 0.0).errors(held_out.images_BHWC)
    return OddityFilter(network, float(errors_B.double().quantile(real_share)))


class NearCopyFilter:
    """Finds pictures that are much nearer to one training picture than to all others."""

    def __init__(self, training_NHWC: Tensor, limit: float) -> None:
        """`training_NHWC`: the different training pictures, uint8. `limit`: of the ratio of
        distances."""
        self.training_NHWC, self.limit = training_NHWC, limit
        self._neighbours = Neighbours(training_NHWC.flatten(1) / 255.0)

    @classmethod
    def fit(
        cls, training_NHWC: Tensor, held_out_BHWC: Tensor, *, real_share: float = 0.99
    ) -> "NearCopyFilter":
        """`real_share` of the held-out real pictures are no near copies by the limit.

        Of training pictures that are alike one is kept: what is near to both would be near to no
        single one.
        """
        different_NHWC = (
            training_NHWC.flatten(1).unique(dim=0).unflatten(1, training_NHWC.shape[1:])
        )
        found = cls(different_NHWC, 0.0)
        return cls(
            different_NHWC, float(found.ratios(held_out_BHWC).double().quantile(1 - real_share))
        )

    @classmethod
    def load(cls, folder: Path, *, device: str = "cpu") -> "NearCopyFilter":
        """Raises `CheckpointError` naming what is missing or unreadable."""
        config, tensors = read_weights(folder)
        try:
            return cls(tensors["training_NHWC"].to(device), config["limit"])
        except KeyError as error:
            raise CheckpointError(
                f"{folder}: this is no checkpoint of a near-copy filter: no {error}"
            ) from error

    def save(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        write_tensors(folder / WEIGHTS, {"training_NHWC": self.training_NHWC})
        write_json(folder / CONFIG, {"limit": self.limit})

    @torch.inference_mode()
    def ratios(self, images_BHWC: Tensor) -> Tensor:
        """Distance [B] to the nearest training picture over that to the second nearest."""
        images_BF = images_BHWC.to(self.training_NHWC.device).flatten(1) / 255.0
        return self._neighbours.ratios(images_BF).cpu()
