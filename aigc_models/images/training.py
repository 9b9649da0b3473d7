"""Trains an image model from labelled pictures to a checkpoint folder.

Knows nothing of where pictures come from or where the folder goes.
"""

import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from aigc_models.checkpoint import METRICS, write_json
from aigc_models.device import resolve_device
from aigc_models.images.classifier import save_classifier, train_classifier
from aigc_models.images.data import LabelledImages, check_labels, check_split, split
from aigc_models.images.families import ImageNetwork, build_image_network
from aigc_models.images.metrics import image_metrics
from aigc_models.images.model import ImageModel
from aigc_models.images.networks.flow import LatentFlow
from aigc_models.images.networks.gan import GAN, Generator
from aigc_models.images.settings import ImageTrainingSettings, default_image_settings
from aigc_models.images.tasks import ImageCorpus, autoencoder_task, finish, generator_task
from aigc_models.seeds import derive_seed
from aigc_models.training.data_parallel import is_first
from aigc_models.training.loop import LoopResult, Task, TrainingLoop
from aigc_models.training.settings import TrainingProgress

__all__ = ["ImageTrainingSettings", "default_image_settings", "train_image_model"]

CLASSIFIER = "classifier"
"""The folder, in the model's, of the classifier of real pictures that judged it."""
AUTOENCODER, GENERATOR = "autoencoder", "generator"
"""Stages, each with its state and event files in a folder of its own."""


def train_image_model(
    images_BHWC: Tensor,
    labels_B: Tensor,
    label_names: Sequence[str],
    folder: Path,
    *,
    settings: ImageTrainingSettings,
    work_dir: Path,
    on_progress: Callable[[TrainingProgress], None] | None = None,
    on_checkpoint: Callable[[Path], None] | None = None,
) -> dict[str, float]:
    """Writes a complete checkpoint folder and returns its metrics, measured on held-out pictures;
    of several processes only the first one does, the others return none.

    Goes on from `work_dir` if it holds the state of an interrupted training of the same pictures
    and settings. `on_checkpoint` gets each state file once it is written. Raises `ImageDataError`.
    """
    torch.set_num_threads(settings.num_threads)
    corpus = build_image_corpus(LabelledImages(images_BHWC, labels_B), label_names, settings)
    torch.manual_seed(settings.seed)
    num_colours = images_BHWC.shape[3]
    shape = {
        "image_px": images_BHWC.shape[1],
        "num_colours": num_colours,
        "num_classes": len(label_names),
    }
    network = build_image_network(settings.family, shape, settings.network).to(corpus.device)
    stages = Stages(work_dir, on_progress, on_checkpoint)
    results = train_stages(network, corpus, settings, stages)
    if not is_first():
        return {}
    model = ImageModel(settings.family, network, label_names)
    synthetic = synthetic_like_real(model, corpus, settings)
    metrics = {
        **judged(synthetic, corpus, settings),
        "val_loss": results[-1].val_loss,
        "steps": float(sum(result.steps for result in results)),
        "cpu_seconds": sum(result.cpu_seconds for result in results),
        "wall_seconds": sum(result.wall_seconds for result in results),
        "num_parameters": float(sum(p.numel() for p in network.parameters())),
        "num_training_images": float(len(corpus.training)),
        "num_validation_images": float(len(corpus.held_out)),
    }
    model.save(folder)
    save_classifier(corpus.classifier, folder / CLASSIFIER)
    write_json(folder / METRICS, metrics)
    for stage in stages.names:
        shutil.copytree(
            work_dir / stage / "tensorboard", folder / "tensorboard" / stage, dirs_exist_ok=True
        )
    return metrics


def judged(
    synthetic: LabelledImages, corpus: ImageCorpus, settings: ImageTrainingSettings
) -> dict[str, float]:
    real = (corpus.training, corpus.held_out, corpus.classifier)
    return image_metrics(synthetic, *real, steps=settings.classifier_steps, flip=settings.flip)


def build_image_corpus(
    data: LabelledImages, label_names: Sequence[str], settings: ImageTrainingSettings
) -> ImageCorpus:
    check_labels(data.labels_B, label_names)
    training, held_out = split(data, settings.validation_share, settings.seed)
    check_split(training, held_out)
    device = resolve_device(settings.device)
    steps = settings.classifier_steps
    classifier = train_classifier(
        [training], len(label_names), steps=steps, flip=settings.flip, device=str(device)
    )
    return ImageCorpus(
        training, held_out, classifier.requires_grad_(False), tuple(label_names), device
    )


class Stages:
    """Runs one loop after another as one training, of which each has a share of the budget."""

    def __init__(
        self,
        work_dir: Path,
        on_progress: Callable[[TrainingProgress], None] | None,
        on_checkpoint: Callable[[Path], None] | None,
    ) -> None:
        self.work_dir, self.on_progress, self.on_checkpoint = work_dir, on_progress, on_checkpoint
        self.names: list[str] = []

    def run(
        self,
        name: str,
        network: nn.Module,
        task: Task,
        settings: ImageTrainingSettings,
        share: tuple[float, float],
    ) -> LoopResult:
        """`share`: where in the whole training this stage begins, and where it ends."""
        begin, end = share

        def report(progress: TrainingProgress) -> None:
            if self.on_progress:
                self.on_progress(
                    replace(progress, fraction=begin + (end - begin) * progress.fraction)
                )

        self.names.append(name)
        stage = scaled(settings, end - begin)
        return TrainingLoop(
            network, task, stage, self.work_dir / name, report, self.on_checkpoint
        ).run()


def scaled(settings: ImageTrainingSettings, share: float) -> ImageTrainingSettings:
    """The settings with a share of the budget."""
    steps, seconds = settings.max_steps, settings.cpu_budget_s
    return replace(
        settings,
        max_steps=max(1, round(share * steps)) if steps else None,
        cpu_budget_s=share * seconds if seconds else None,
    )


def train_stages(
    network: ImageNetwork, corpus: ImageCorpus, settings: ImageTrainingSettings, stages: Stages
) -> list[LoopResult]:
    results, begin = [], 0.0
    if isinstance(network, LatentFlow):
        begin = settings.autoencoder_share
        below = autoencoder_settings(settings)
        task = autoencoder_task(corpus, below)
        results.append(stages.run(AUTOENCODER, network.vae, task, below, (0.0, begin)))
        finish(network.vae, corpus, settings)
    trained = what_is_trained(network, settings)
    results.append(
        stages.run(
            GENERATOR, trained, generator_task(corpus, network, settings), settings, (begin, 1.0)
        )
    )
    finish(network, corpus, settings)
    return results


def what_is_trained(network: ImageNetwork, settings: ImageTrainingSettings) -> nn.Module:
    """Less than a flow, whose autoencoder is finished; more than a generator, which needs an
    opponent."""
    if isinstance(network, LatentFlow):
        return network.velocity
    if isinstance(network, Generator):
        return GAN(network, is_spectral=settings.loss == "hinge").to(
            next(network.parameters()).device
        )
    return network


def autoencoder_settings(settings: ImageTrainingSettings) -> ImageTrainingSettings:
    """A VAE's preset with the flow's budget, device and validation."""
    preset = default_image_settings("vae")
    names = ("learning_rate", "weight_decay", "betas", "ema_decay", "batch_size", "precision")
    return replace(settings, **{name: getattr(preset, name) for name in names})


def synthetic_like_real(
    model: ImageModel, corpus: ImageCorpus, settings: ImageTrainingSettings
) -> LabelledImages:
    """As many pictures of each class as training has, but for rounding, from seeds that validation
    did not use."""
    labels = corpus.labels_like_real(max(settings.num_scored, len(corpus.training)))
    seeds = [derive_seed(settings.seed + 1, i) for i in range(len(labels))]
    return LabelledImages(model.sample(labels, seeds), torch.tensor(labels))


def evaluate_image_model(
    model: ImageModel, data: LabelledImages, settings: ImageTrainingSettings
) -> dict[str, float]:
    """Metrics on just the pictures that a training with `settings` on `data` holds out."""
    corpus = build_image_corpus(data, model.label_names, settings)
    return judged(synthetic_like_real(model, corpus, settings), corpus, settings)
