"""Settings of recommender training, and presets by family. Does not need torch."""

from dataclasses import dataclass, replace
from typing import Any

from aigc_models.training.settings import LoopSettings

FAMILIES = ("gpt", "gru", "bert")


@dataclass(frozen=True, slots=True, kw_only=True)
class RecommenderSettings(LoopSettings):
    family: str = "gpt"
    width: int = 64
    num_layers: int = 2
    num_heads: int = 2
    """For transformers only."""
    dropout: float = 0.2
    max_items: int = 50
    """Only the newest items of a history are read."""
    batch_tokens: int = 512
    learning_rate: float = 2e-3
    num_negatives: int = 2048
    """Items sampled for the softmax. 0: all items."""
    mask_share: float = 0.2
    """The share of items that are masked, for BERT only."""
    knn_share: float | None = None
    """Weight of item-kNN in the score; the network has the rest. None: the weight that ranks
    held-out items best."""
    num_scored: int = 3000
    """Histories whose last item is held out; at most a tenth of all."""

    def __post_init__(self) -> None:
        LoopSettings.__post_init__(self)
        if self.family not in FAMILIES:
            raise ValueError(f"family must be one of {', '.join(FAMILIES)}, not {self.family!r}")
        if self.torch_compile and self.family == "gru":
            raise ValueError(
                "torch_compile is for the families gpt and bert, not for the recurrent gru"
            )
        are_sizes_valid = min(self.max_items, self.batch_tokens) >= 2 and self.num_scored >= 1
        if not are_sizes_valid or self.num_negatives < 0:
            raise ValueError(
                "max_items and batch_tokens must be at least 2, num_negatives 0, num_scored 1"
            )
        if self.knn_share is not None and not 0.0 <= self.knn_share <= 1.0:
            raise ValueError(f"knn_share must be between 0 and 1, not {self.knn_share}")
        if not 0.0 < self.mask_share < 1.0:
            raise ValueError(f"mask_share must be between 0 and 1, not {self.mask_share}")

    def network_options(self) -> dict[str, Any]:
        options = {"width": self.width, "num_layers": self.num_layers, "dropout": self.dropout}
        if self.family == "gru":
            return options
        return options | {"num_heads": self.num_heads, "mlp_width": 8 * self.width // 3}


PRESETS: dict[str, dict[str, Any]] = {
    "gpt": {"width": 128, "dropout": 0.3, "cpu_budget_s": 1100.0},
    "gru": {"width": 128, "num_layers": 1},
    "bert": {"cpu_budget_s": 1100.0},
}


QUICK: dict[str, Any] = {"family": "gpt", "cpu_budget_s": 20.0, "num_scored": 500}
"""For a first look: item-kNN, which takes seconds, does most of the ranking."""


EVENTS_FOR_WHOLE_BUDGET = 300_000
SMALLEST_SHARE = 0.1


def default_recommender_settings(
    family: str, num_events: int = EVENTS_FOR_WHOLE_BUDGET, **changes: Any
) -> RecommenderSettings:
    """The preset of a family with changes; fewer events get less time, down to a tenth."""
    if family not in PRESETS:
        raise ValueError(f"family must be one of {', '.join(FAMILIES)}, not {family!r}")
    settings = RecommenderSettings(**{"family": family, **PRESETS[family]})
    assert settings.cpu_budget_s is not None
    share = min(1.0, max(SMALLEST_SHARE, num_events / EVENTS_FOR_WHOLE_BUDGET))
    return replace(settings, **{"cpu_budget_s": round(share * settings.cpu_budget_s), **changes})
