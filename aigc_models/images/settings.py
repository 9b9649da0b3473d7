"""Settings of image training, and presets by family. Does not need torch."""

from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from aigc_models.training.settings import LoopSettings

FAMILIES = ("flow", "gan", "vae")
Loss = Literal["original", "hinge"]
LOSSES: tuple[Loss, ...] = get_args(Loss)
MIN_CLASSIFIER_STEPS = 10
"""Fewer steps are too few for one cycle of the learning rate."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageTrainingSettings(LoopSettings):
    family: str = "flow"
    network: dict[str, Any] = field(default_factory=dict)
    """Changes to the configuration of the family's network."""
    image_px: int = 0
    """The side to which pictures are cropped and resampled. 0: pictures have one size already."""
    batch_size: int = 64
    flip: bool = False
    """Mirror training pictures at random: useful for cats, wrong for digits."""
    shift_px: int = 0
    """Shift training pictures at random by up to this many pixels each way. With few pictures, this
    prevents copies."""
    autoencoder_share: float = 0.5
    """The share of the budget for the autoencoder of a flow."""
    loss: Loss = "hinge"
    """For a GAN: "original" gives good pictures sooner, "hinge" gives better ones in the end."""
    augment: bool = False
    """Shift, cut out and recolour the pictures that a GAN's discriminator sees. With few pictures,
    this prevents memorising them."""
    validation_share: float = 0.1
    num_scored: int = 2000
    """Synthetic pictures that a validation compares with the held-out real ones."""
    classifier_steps: int = 400
    """Steps of the classifiers for metrics; their time does not count as training."""

    def __post_init__(self) -> None:
        LoopSettings.__post_init__(self)
        if self.family not in FAMILIES:
            raise ValueError(f"family must be one of {', '.join(FAMILIES)}, not {self.family!r}")
        if self.family == "gan" and self.num_workers > 1:
            raise ValueError(
                f"a GAN is trained by one worker, not {self.num_workers}: its generator's norms "
                "need the statistics of whole batches. Leave num_workers at 1, or take the family "
                "flow or vae"
            )
        if self.loss not in LOSSES:
            raise ValueError(f"loss must be one of {', '.join(LOSSES)}, not {self.loss!r}")
        if min(self.batch_size, self.num_scored) < 2:
            raise ValueError("batch_size and num_scored must be at least 2")
        if self.classifier_steps < MIN_CLASSIFIER_STEPS:
            raise ValueError(f"classifier_steps must be at least {MIN_CLASSIFIER_STEPS}")
        if self.shift_px < 0:
            raise ValueError(f"shift_px must not be negative: {self.shift_px}")
        if not 0.0 < self.validation_share < 1.0 or not 0.0 < self.autoencoder_share < 1.0:
            raise ValueError("validation_share and autoencoder_share must be between 0 and 1")


MIXED = {"precision": "bfloat16"}
"""1.3 to 2.8 times as fast as float32 on CPUs that support bfloat16; use "float32" on others."""
PRESETS: dict[str, dict[str, Any]] = {
    "flow": {
        **MIXED,
        "cpu_budget_s": 600.0,
        "batch_size": 256,
        "learning_rate": 2e-3,
        "weight_decay": 0.01,
        "ema_decay": 0.999,
        "num_validations": 6,
    },
    "gan": {
        **MIXED,
        "cpu_budget_s": 400.0,
        "learning_rate": 1e-3,
        "weight_decay": 0.0,
        "betas": (0.5, 0.99),
        "max_gradient_norm": 10.0,
        "ema_decay": 0.998,
        "num_validations": 8,
    },
    "vae": {**MIXED, "learning_rate": 2e-3, "weight_decay": 0.01, "ema_decay": 0.995},
}


QUICK: dict[str, Any] = {
    "family": "vae",
    "network": {"width": 16, "latent_width": 16},
    "learning_rate": 4e-3,
    "cpu_budget_s": 30.0,
    "classifier_steps": 60,
    "num_scored": 300,
    "num_validations": 4,
}
"""Simple pictures within a minute; with so little time a VAE is better than a flow or a GAN."""


FEW_IMAGES = 100
"""Per class. With fewer, models memorise pictures unless `FEW_SHOT` changes their presets."""
FEW_SHOT: dict[str, dict[str, Any]] = {
    "flow": {"shift_px": 2, "network": {"dropout": 0.2}},
    "gan": {"shift_px": 2, "augment": True},
    "vae": {"shift_px": 2, "cpu_budget_s": 30.0},
}


def default_image_settings(
    family: str, *, images_per_class: int | None = None, **changes: Any
) -> ImageTrainingSettings:
    """The preset of a family with changes.

    `images_per_class`: training pictures in the smallest class; None means at least a hundred.
    """
    if family not in PRESETS:
        raise ValueError(f"family must be one of {', '.join(FAMILIES)}, not {family!r}")
    are_few = images_per_class is not None and images_per_class < FEW_IMAGES
    few_shot = FEW_SHOT[family] if are_few else {}
    return ImageTrainingSettings(**{"family": family, **PRESETS[family], **few_shot, **changes})
