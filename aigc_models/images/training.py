"""Trains an image model from labelled pictures and writes a checkpoint folder.

Does not know where the pictures come from or where the folder goes.
"""

import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from aigc_models.checkpoint import METRICS, write_json
from aigc_models.device import resolve_device
from aigc_models.images.classifier import save_classifier, train_classifier
from aigc_models.images.data import LabelledImages, check_labels, check_split, split
from aigc_models.images.families import ImageNetwork, build_image_network
from aigc_models.images.metrics import image_metrics
from aigc_models.images.model import ImageModel
from aigc_models.images.networks.flow import LatentFlow
from aigc_models.images.settings import ImageTrainingSettings, default_image_settings
from aigc_models.images.tasks import GENERATOR_STAGES, ImageCorpus, Stage, autoencoder_stage
from aigc_models.seeds import derive_seed
from aigc_models.training.data_parallel import is_first
from aigc_models.training.loop import LoopResult, TrainingLoop
from aigc_models.training.settings import TrainingProgress

__all__ = ["ImageTrainingSettings", "default_image_settings", "train_image_model"]

CLASSIFIER = "classifier"
"""The folder, inside the model's, of the classifier that its metrics were computed with."""
AUTOENCODER, GENERATOR = "autoencoder", "generator"
"""The stages; each has a folder for its state and event files."""


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
    """Writes a complete checkpoint folder and returns its metrics, measured on held-out pictures.

    With several processes, only the first one writes; the others return no metrics. Resumes if
    `work_dir` has the state of an interrupted training with the same pictures and settings.
    `on_checkpoint` gets the path of each state file that is written. Raises `ImageDataError`.
    """
    torch.set_num_threads(settings.num_threads)
    corpus = build_image_corpus(LabelledImages(images_BHWC, labels_B), label_names, settings)
    torch.manual_seed(settings.seed)
    shape = {
        "image_px": images_BHWC.shape[1],
        "num_colours": images_BHWC.shape[3],
        "num_classes": len(label_names),
    }
    network = build_image_network(settings.family, shape, settings.network).to(corpus.device)
    runner = StageRunner(work_dir, on_progress, on_checkpoint)
    results = train_stages(network, corpus, settings, runner)
    if not is_first():
        return {}
    model = ImageModel(settings.family, network, label_names)
    synthetic = synthetic_like_real(model, corpus, settings)
    metrics = {
        **measure(synthetic, corpus, settings),
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
    for name in runner.names:
        events = work_dir / name / "tensorboard"
        shutil.copytree(events, folder / "tensorboard" / name, dirs_exist_ok=True)
    return metrics


def measure(
    synthetic: LabelledImages, corpus: ImageCorpus, settings: ImageTrainingSettings
) -> dict[str, float]:
    return image_metrics(
        synthetic,
        corpus.training,
        corpus.held_out,
        corpus.classifier,
        steps=settings.classifier_steps,
        flip=settings.flip,
    )


def build_image_corpus(
    data: LabelledImages, label_names: Sequence[str], settings: ImageTrainingSettings
) -> ImageCorpus:
    check_labels(data.labels_B, label_names)
    training, held_out = split(data, settings.validation_share, settings.seed)
    check_split(training, held_out)
    device = resolve_device(settings.device)
    classifier = train_classifier(
        [training],
        len(label_names),
        steps=settings.classifier_steps,
        flip=settings.flip,
        device=str(device),
    )
    classifier.requires_grad_(False)
    return ImageCorpus(training, held_out, classifier, tuple(label_names), device)


class StageRunner:
    """Runs one training loop after another as one training, whose budget they share."""

    def __init__(
        self,
        work_dir: Path,
        on_progress: Callable[[TrainingProgress], None] | None,
        on_checkpoint: Callable[[Path], None] | None,
    ) -> None:
        self.work_dir = work_dir
        self.on_progress = on_progress
        self.on_checkpoint = on_checkpoint
        self.names: list[str] = []

    def run(
        self,
        name: str,
        stage: Stage,
        settings: ImageTrainingSettings,
        *,
        begin: float,
        end: float,
    ) -> LoopResult:
        """Trains a stage and finishes its network.

        `begin` and `end`: the fractions of the whole training at which the stage begins and ends.
        """
        share = end - begin

        def report(progress: TrainingProgress) -> None:
            if self.on_progress:
                fraction = begin + share * progress.fraction
                self.on_progress(replace(progress, fraction=fraction))

        self.names.append(name)
        loop = TrainingLoop(
            stage.network,
            stage.task,
            scale_budget(settings, share),
            self.work_dir / name,
            report,
            self.on_checkpoint,
        )
        result = loop.run()
        stage.finish()
        return result


def scale_budget(settings: ImageTrainingSettings, share: float) -> ImageTrainingSettings:
    """The same settings with a share of the budget."""
    steps, seconds = settings.max_steps, settings.cpu_budget_s
    return replace(
        settings,
        max_steps=max(1, round(share * steps)) if steps else None,
        cpu_budget_s=share * seconds if seconds else None,
    )


def train_stages(
    network: ImageNetwork, corpus: ImageCorpus, settings: ImageTrainingSettings, runner: StageRunner
) -> list[LoopResult]:
    results = []
    begin = 0.0
    if isinstance(network, LatentFlow):
        begin = settings.autoencoder_share
        vae_settings = autoencoder_settings(settings)
        autoencoder = autoencoder_stage(network, corpus, vae_settings)
        results.append(runner.run(AUTOENCODER, autoencoder, vae_settings, begin=0.0, end=begin))
    generator = GENERATOR_STAGES[settings.family](network, corpus, settings)
    results.append(runner.run(GENERATOR, generator, settings, begin=begin, end=1.0))
    return results


def autoencoder_settings(settings: ImageTrainingSettings) -> ImageTrainingSettings:
    """The flow's settings with the optimiser of a VAE's preset."""
    preset = default_image_settings("vae")
    names = ("learning_rate", "weight_decay", "betas", "ema_decay", "batch_size", "precision")
    return replace(settings, **{name: getattr(preset, name) for name in names})


def synthetic_like_real(
    model: ImageModel, corpus: ImageCorpus, settings: ImageTrainingSettings
) -> LabelledImages:
    """Pictures with the same shares of classes as in training, from seeds not used in validation.

    There are at least as many as training pictures.
    """
    labels = corpus.labels_like_real(max(settings.num_scored, len(corpus.training)))
    seeds = [derive_seed(settings.seed + 1, i) for i in range(len(labels))]
    return LabelledImages(model.sample(labels, seeds), torch.tensor(labels))


def evaluate_image_model(
    model: ImageModel, data: LabelledImages, settings: ImageTrainingSettings
) -> dict[str, float]:
    """Metrics of a trained model on the pictures that a training on `data` would hold out."""
    corpus = build_image_corpus(data, model.label_names, settings)
    return measure(synthetic_like_real(model, corpus, settings), corpus, settings)
