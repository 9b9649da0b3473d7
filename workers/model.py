"""What a model declares: which tables it learns from, how it is trained, loaded, judged.

A model is one file in `workers/models/` and one line in its `MODELS`. Its versions compete for
champion, whatever their family. Knows nothing about Ray or flows.
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
        """Writes a complete checkpoint folder; goes on from the state files that `work_dir` holds.
        Of several processes that train together, only the first one writes and has metrics."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelDeclaration:
    name: str
    version: int
    """To be raised by whoever changes training: earlier trainings do not count as the same any
    more."""
    tables: tuple[str, ...]
    """Input tables with its examples; a table that is absent is left out, but not all of them."""
    families: tuple[str, ...]
    """The first one is the default."""
    default_settings: Callable[..., Any]
    """(family, what `survey` found) → its training settings, a dataclass on top of
    `LoopSettings`."""
    survey: Callable[[Storage, list[Snapshot]], dict[str, Any]] = lambda storage, snapshots: {}
    """What of the inputs the default settings depend on, found without reading whole rows; as
    `family` what suits them better than the usual default."""
    quick: Mapping[str, Any]
    """Changes to the settings of its `family` for a first look within a minute."""
    read_examples: Callable[[Storage, list[Snapshot], Any], Any]
    """(store, snapshots, training settings) → all that is learned from. Raises InputError where
    that is too little."""
    train: Train
    load: Callable[[Path, str], Any]
    """(checkpoint folder, device) → what jobs generate with. Raises `CheckpointError`."""
    evaluate: Callable[[Any, Any, Any], Metrics]
    """(loaded model, examples, training settings) → its metrics on what a training with these holds
    out."""
    score: Callable[[Mapping[str, float]], float]
    """The figure by which challenger and champion are compared; more is better."""
    figures: Mapping[str, str]
    """The metrics that people are shown, by what they are called."""
    unit: str = "tokens"
    """What its training counts, and tells the speed in."""

    def parse_settings(
        self,
        family: str,
        overrides: Mapping[str, Any],
        *,
        quick: bool = False,
        survey: Mapping[str, Any] | None = None,
    ) -> Any:
        """Training settings of `family`; raises InputError that names what is wrong."""
        if quick and family not in ("", self.quick["family"]):
            raise InputError(
                f"a quick training is made for the family {self.quick['family']}, not {family}"
            )
        found = dict(survey or {})
        suited = found.pop("family", self.families[0])
        family = self.quick["family"] if quick else family or suited
        if family not in self.families:
            raise InputError(
                f"model {self.name} has no family {family!r}; there are {', '.join(self.families)}"
            )
        if "family" in overrides:
            raise InputError(
                f"family is no setting: `--model {overrides['family']}`, or the form's field family"
            )
        preset = self.quick if quick else {}
        return override(
            self.default_settings(family, **found), {**preset, **overrides}, f"training {self.name}"
        )
