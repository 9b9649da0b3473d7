"""What a model declares: its training tables and how to train, load and evaluate it.

A model is one file in `workers/models/` and one line in its `MODELS`. Versions of all its families
compete for champion. Knows nothing about Ray or flows.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from aigc_models.training.settings import TrainingProgress
from infra.errors import InputError
from infra.storage import Storage
from workers.overrides import override
from workers.pins import Snapshot

Metrics = dict[str, float]


class Train(Protocol):
    def __call__(
        self,
        examples: Any,
        folder: Path,
        /,
        *,
        settings: Any,
        work_dir: Path,
        on_progress: Callable[[TrainingProgress], None],
        on_checkpoint: Callable[[Path], None],
    ) -> Metrics:
        """Trains, writes a complete checkpoint to `folder` and returns the metrics.

        Resumes from the state files in `work_dir`. In distributed training only rank 0 writes and
        returns metrics.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelDeclaration:
    name: str
    version: int
    """Raise it with every change to training; earlier versions then no longer count as trained the
    same way."""
    tables: tuple[str, ...]
    """Input tables with training examples. Missing tables are skipped, but one must exist."""
    families: tuple[str, ...]
    """The first is the default."""
    default_settings: Callable[..., Any]
    """(family, **the result of `survey`) → training settings, a subclass of `LoopSettings`."""
    survey: Callable[[Storage, list[Snapshot]], dict[str, Any]] = lambda storage, snapshots: {}
    """Facts about the inputs that the default settings depend on, found without reading whole rows.
    The key `family` overrides the default family."""
    quick: Mapping[str, Any]
    """Settings for a training of about a minute; `family` is one of them."""
    read_examples: Callable[[Storage, list[Snapshot], Any], Any]
    """(store, snapshots, training settings) → the training examples. Raises InputError where there
    are too few."""
    train: Train
    load: Callable[[Path, str], Any]
    """(checkpoint folder, device) → the model as jobs use it. Raises `CheckpointError`."""
    evaluate: Callable[[Any, Any, Any], Metrics]
    """(loaded model, examples, training settings) → metrics on the examples that a training with
    these settings holds out."""
    score: Callable[[Mapping[str, float]], float]
    """Metrics → the number that ranks challenger and champion; higher is better."""
    figures: Mapping[str, str]
    """The metrics to show, by display name."""
    unit: str = "tokens"
    """The unit in which training progress and speed are counted."""

    def parse_settings(
        self,
        family: str,
        overrides: Mapping[str, Any],
        *,
        quick: bool = False,
        survey: Mapping[str, Any] | None = None,
    ) -> Any:
        """Training settings of `family`, or of the default family if it is empty.

        Raises InputError naming the wrong setting.
        """
        if quick and family not in ("", self.quick["family"]):
            raise InputError(
                f"quick training supports only the family {self.quick['family']}, not {family}"
            )
        surveyed = dict(survey or {})
        default_family = surveyed.pop("family", self.families[0])
        family = self.quick["family"] if quick else family or default_family
        if family not in self.families:
            raise InputError(
                f"model {self.name} has no family {family!r}; there are {', '.join(self.families)}"
            )
        if "family" in overrides:
            raise InputError(
                f"family is not a setting: use `--model {overrides['family']}`, "
                "or the field family of the form"
            )
        base = self.default_settings(family, **surveyed)
        presets = self.quick if quick else {}
        return override(base, {**presets, **overrides}, f"training {self.name}")
