"""Training settings of text models, with defaults for each family. Does not import torch."""

from dataclasses import dataclass
from typing import Any

from aigc_models.training.settings import LoopSettings

GPT_FAMILY = "gpt"
RNN_FAMILIES = ("rnn", "lstm", "gru")
FAMILIES = (GPT_FAMILY, *RNN_FAMILIES)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingSettings(LoopSettings):
    family: str = GPT_FAMILY
    width: int = 96
    num_layers: int = 3
    num_heads: int = 4
    """Only of the GPT: recurrent families have no heads."""
    dropout: float = 0.1
    label_smoothing: float = 0.0
    vocab_size: int = 2000
    """Number of literal tokens; symbols of acts are added to them."""
    batch_tokens: int = 512
    """Positions in a batch, padding included."""
    max_repeats: int = 3
    """Texts of rare intents appear up to this many times per epoch."""
    validation_share: float = 0.05
    num_scored: int = 300
    """Number of validation acts for which a text is generated and scored."""

    def __post_init__(self) -> None:
        LoopSettings.__post_init__(self)
        if self.family not in FAMILIES:
            raise ValueError(f"family must be one of {', '.join(FAMILIES)}, not {self.family!r}")
        if self.torch_compile and self.family != GPT_FAMILY:
            raise ValueError(
                f"torch_compile is for the family {GPT_FAMILY}, "
                f"not for recurrent ones like {self.family}"
            )
        if self.max_repeats < 1:
            raise ValueError(f"max_repeats must be at least 1, not {self.max_repeats}")
        if not 0.0 < self.validation_share < 1.0:
            raise ValueError(
                f"validation_share must be between 0 and 1, not {self.validation_share}"
            )

    def network_options(self) -> dict[str, Any]:
        """Fields of the network's configuration that do not depend on the corpus."""
        options = {"width": self.width, "num_layers": self.num_layers, "dropout": self.dropout}
        if self.family == GPT_FAMILY:
            options |= {"num_heads": self.num_heads, "mlp_width": 8 * self.width // 3}
        return options


RECURRENT = {"width": 192, "num_layers": 1, "dropout": 0.3, "batch_tokens": 1024}
FAMILY_SETTINGS: dict[str, dict[str, Any]] = {
    GPT_FAMILY: {},
    **dict.fromkeys(RNN_FAMILIES, RECURRENT),
}


QUICK: dict[str, Any] = {
    "family": "gpt",
    "width": 64,
    "num_layers": 2,
    "learning_rate": 6e-3,
    "dropout": 0.0,
    "ema_decay": 0.99,
    "max_repeats": 1,
    "cpu_budget_s": 30.0,
}
"""Changes with which a GPT learns a few thousand regular texts in well under a minute of CPU
time."""


def default_settings(family: str, **changes: Any) -> TrainingSettings:
    """Settings for a few thousand examples, with changes."""
    if family not in FAMILY_SETTINGS:
        raise ValueError(f"family must be one of {', '.join(FAMILIES)}, not {family!r}")
    return TrainingSettings(**{"family": family, **FAMILY_SETTINGS[family], **changes})
