"""How text models are trained, and what suits each family. Needs no torch."""

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
    """Of the GPT; recurrent families have none."""
    dropout: float = 0.1
    label_smoothing: float = 0.0
    vocab_size: int = 2000
    """Literal tokens; symbols of acts come on top."""
    batch_tokens: int = 512
    """Positions of a batch, padding included."""
    max_repeats: int = 3
    """Texts of rare intents come up to this many times an epoch."""
    validation_share: float = 0.05
    num_scored: int = 300
    """Validation acts that a text is generated for, for the metrics."""

    def __post_init__(self) -> None:
        LoopSettings.__post_init__(self)
        if self.family not in FAMILIES:
            raise ValueError(f"family must be one of {', '.join(FAMILIES)}, not {self.family!r}")
        if self.torch_compile and self.family != GPT_FAMILY:
            raise ValueError(
                f"torch_compile is for the family {GPT_FAMILY}, not for recurrent ones like {self.family}"
            )
        if self.max_repeats < 1:
            raise ValueError(f"max_repeats must be at least 1, not {self.max_repeats}")
        if not 0.0 < self.validation_share < 1.0:
            raise ValueError(
                f"validation_share must be between 0 and 1, not {self.validation_share}"
            )

    def network_options(self) -> dict[str, Any]:
        options = {"width": self.width, "num_layers": self.num_layers, "dropout": self.dropout}
        if self.family == GPT_FAMILY:
            options |= {"num_heads": self.num_heads, "mlp_width": 8 * self.width // 3}
        return options


RECURRENT = {"width": 192, "num_layers": 1, "dropout": 0.3, "batch_tokens": 1024}
FAMILY_SETTINGS: dict[str, dict[str, Any]] = {
    "gpt": {},
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
"""Changes that make a GPT learn a few thousand texts of plain, regular language in well under a
minute of CPU time."""


def default_settings(family: str, **changes: Any) -> TrainingSettings:
    """Settings that suit a family on a few thousand examples, with changes."""
    if family not in FAMILY_SETTINGS:
        raise ValueError(f"family must be one of {', '.join(FAMILIES)}, not {family!r}")
    return TrainingSettings(**{"family": family, **FAMILY_SETTINGS[family], **changes})
