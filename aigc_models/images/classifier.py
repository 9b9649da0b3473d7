"""A small convolutional classifier: its features compare pictures, its accuracy measures data.

It is always trained with the same recipe and number of steps, so that only the data make a
difference. Nothing is tuned on test pictures.

B batch, C colours, H height, W width, F features, K classes.
"""

from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from aigc_models.checkpoint import (
    CONFIG,
    WEIGHTS,
    CheckpointError,
    read_weights,
    write_json,
    write_tensors,
)
from aigc_models.device import to_device
from aigc_models.images.data import EpochSchedule, LabelledImages, mirror, shift, to_network

NUM_FEATURES = 64
BATCH_SIZE = 128
LEARNING_RATE = 3e-3
MAX_SHIFT_PX = 2
EVALUATED_AT_ONCE = 64
"""Fits into the cache of a CPU and is twice as fast there as 256."""


class Classifier(nn.Module):
    def __init__(self, num_colours: int, num_classes: int) -> None:
        super().__init__()
        self.num_colours = num_colours
        layers: list[nn.Module] = []
        # Features before and after, kernel size, stride
        shapes = ((num_colours, 32, 5, 2), (32, 64, 3, 1), (64, 96, 3, 2))
        for before, after, size, stride in shapes:
            layers += [
                nn.Conv2d(before, after, size, stride, size // 2, bias=False),
                nn.BatchNorm2d(after),
                nn.ReLU(),
            ]
        pooled = [nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(4 * 96, NUM_FEATURES)]
        self.features = nn.Sequential(*layers, *pooled)
        self.head = nn.Linear(NUM_FEATURES, num_classes)

    def forward(self, images_BCHW: Tensor) -> Tensor:
        logits_BK: Tensor = self.head(F.relu(self.features(images_BCHW)))
        return logits_BK


def train_classifier(
    parts: Sequence[LabelledImages],
    num_classes: int,
    *,
    steps: int = 400,
    augment: bool = True,
    flip: bool = False,
    seed: int = 0,
    device: str = "cpu",
) -> Classifier:
    """Trains a classifier for `steps` batches, by AdamW with one cycle of the learning rate (Smith
    and Topin 2019).

    Batches have an equal number of pictures of each part, except of parts that are too small.
    `augment` shifts pictures by up to two pixels and, with `flip`, mirrors them.
    """
    torch.manual_seed(seed)
    network = Classifier(parts[0].images_BHWC.shape[3], num_classes).to(device)
    optimiser = torch.optim.AdamW(network.parameters(), lr=LEARNING_RATE, weight_decay=1e-2)
    rate = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, LEARNING_RATE, total_steps=steps, pct_start=0.2
    )
    schedules = [EpochSchedule(len(part), BATCH_SIZE // len(parts), seed) for part in parts]
    for step in range(steps):
        drawn = [
            part.select(schedule.rows_at(step))
            for part, schedule in zip(parts, schedules, strict=True)
        ]
        images_BCHW = to_network(torch.cat([part.images_BHWC for part in drawn]))
        if augment and flip:
            images_BCHW = mirror(images_BCHW)
        if augment:
            images_BCHW = shift(images_BCHW, MAX_SHIFT_PX)
        labels_B = torch.cat([part.labels_B for part in drawn])
        logits_BK = network(to_device(images_BCHW, device))
        loss = F.cross_entropy(logits_BK, to_device(labels_B, device))
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        rate.step()
    return network.eval()


@torch.no_grad()
def image_features(classifier: Classifier, images_BHWC: Tensor) -> Tensor:
    """Features [B, F] in float64 on the CPU."""
    device = next(classifier.parameters()).device
    batches = (to_network(images).to(device) for images in images_BHWC.split(EVALUATED_AT_ONCE))
    return torch.cat([classifier.features(images_BCHW) for images_BCHW in batches]).double().cpu()


@torch.no_grad()
def read_labels(classifier: Classifier, images_BHWC: Tensor) -> Tensor:
    """The class [B] that the classifier predicts for each picture."""
    device = next(classifier.parameters()).device
    features_BF = image_features(classifier, images_BHWC).float().to(device)
    guesses_B: Tensor = classifier.head(F.relu(features_BF)).argmax(dim=1).cpu()
    return guesses_B


def accuracy(classifier: Classifier, data: LabelledImages) -> float:
    """The share of pictures whose class the classifier predicts."""
    is_right_B = read_labels(classifier, data.images_BHWC) == data.labels_B
    return float(is_right_B.double().mean())


def save_classifier(classifier: Classifier, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    shape = {"num_colours": classifier.num_colours, "num_classes": classifier.head.out_features}
    write_tensors(folder / WEIGHTS, classifier.state_dict())
    write_json(folder / CONFIG, shape)


def load_classifier(folder: Path, *, device: str = "cpu") -> Classifier:
    """Reads a folder; raises `CheckpointError`, which names what is missing or damaged."""
    config, tensors = read_weights(folder)
    try:
        classifier = Classifier(**config)
        classifier.load_state_dict(tensors)
    except (TypeError, RuntimeError) as error:
        raise CheckpointError(f"{folder} is not a classifier checkpoint: {error}") from error
    return classifier.to(device).eval()
