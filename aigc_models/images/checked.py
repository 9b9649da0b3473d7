"""Pictures with checks: several candidates are drawn for each, the first that passes the filters is
kept.

Filtering goes on in a second thread while the next pictures are generated. What it rejects joins a
later batch, always the same one: which pictures share a batch depends on no clock.

B batch, N training pictures, H height, W width, C colours.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

from torch import Tensor

from aigc_models.images.checks import Checks
from aigc_models.images.classifier import Classifier, load_classifier, read_labels
from aigc_models.images.data import LabelledImages, split
from aigc_models.images.filters import NearCopyFilter, OddityFilter, train_oddity_filter
from aigc_models.images.model import BATCH_IMAGES, ImageModel
from aigc_models.images.training import CLASSIFIER, ImageTrainingSettings, scaled, train_image_model
from aigc_models.seeds import derive_seed
from aigc_models.training.data_parallel import is_first
from aigc_models.training.settings import TrainingProgress

ODDITIES, COPIES = "oddities", "copies"
"""Folders of the filters in the model's."""
CHECKED_AT_ONCE = 256
MAX_UNCHECKED = 2
"""Batches that are generated before the first of them must have been filtered."""
FILTER_SHARE = 0.1
"""What the filter's autoencoder is trained for, as a share of the generator's budget and on top of
it."""


@dataclass(frozen=True, slots=True)
class CheckedImages:
    """Finished pictures of some rows, which are given by their places in the call."""

    rows: list[int]
    images_BHWC: Tensor
    """uint8."""
    errors_B: Tensor
    """Reconstruction errors, mean squares on the scale from -1 to 1."""
    ratios_B: Tensor
    """Distances to the nearest training picture over those to the second nearest."""
    candidates: list[int]
    """Which candidates of their rows these are, from 1."""
    problems: list[list[str]]
    """Empty for pictures that passed; the others are the rows' last candidates."""

    def best_places(self) -> Iterable[int]:
        """For each row the place of its first candidate that passed, or of its last one."""
        best: dict[int, int] = {}
        for place, row in enumerate(self.rows):
            if row not in best or self.problems[best[row]]:
                best[row] = place
        return best.values()

    def select(self, places: list[int]) -> "CheckedImages":
        return replace(
            self,
            rows=[self.rows[place] for place in places],
            images_BHWC=self.images_BHWC[places],
            errors_B=self.errors_B[places],
            ratios_B=self.ratios_B[places],
            candidates=[self.candidates[place] for place in places],
            problems=[self.problems[place] for place in places],
        )


class CheckedImageModel:
    """What jobs know of image models."""

    def __init__(
        self,
        model: ImageModel,
        oddities: OddityFilter,
        copies: NearCopyFilter,
        classifier: Classifier,
    ) -> None:
        self.model, self.oddities, self.copies, self.classifier = (
            model,
            oddities,
            copies,
            classifier,
        )

    @classmethod
    def load(cls, folder: Path, *, device: str = "cpu") -> "CheckedImageModel":
        """Reads a checkpoint folder; raises `CheckpointError` naming what is missing or
        unreadable."""
        return cls(
            ImageModel.load(folder, device=device),
            OddityFilter.load(folder / ODDITIES, device=device),
            NearCopyFilter.load(folder / COPIES, device=device),
            load_classifier(folder / CLASSIFIER, device=device),
        )

    @property
    def label_names(self) -> tuple[str, ...]:
        return self.model.label_names

    def generate(
        self, labels: Sequence[int], row_seeds: Sequence[int], checks: Checks
    ) -> Iterator[CheckedImages]:
        """Yields every row once, in groups as they are finished.

        Depends on each row's label and seed alone, but for the last bits of errors and ratios.
        """
        if len(labels) != len(row_seeds):
            raise ValueError(f"{len(labels)} labels but {len(row_seeds)} row seeds")
        pending = deque((row, 1) for row in range(len(labels)))
        unchecked: deque[Future[CheckedImages]] = deque()
        with ThreadPoolExecutor(1) as thread:
            while pending or unchecked:
                if pending and len(unchecked) < MAX_UNCHECKED:
                    drawn = [pending.popleft() for _ in range(min(CHECKED_AT_ONCE, len(pending)))]
                    drawn += islice(
                        _further(tuple(drawn), checks.num_candidates),
                        max(0, BATCH_IMAGES - len(drawn)),
                    )
                    images_BHWC = self._draw(drawn, labels, row_seeds)
                    of_drawn = [labels[row] for row, _ in drawn]
                    unchecked.append(
                        thread.submit(self._check, drawn, images_BHWC, of_drawn, checks)
                    )
                    continue
                found = unchecked.popleft().result()
                best = list(found.best_places())
                again = {
                    place: (found.rows[place], found.candidates[place] + 1)
                    for place in best
                    if found.problems[place] and found.candidates[place] < checks.num_candidates
                }
                pending.extendleft(again.values())
                if len(again) < len(best):
                    yield found.select([place for place in best if place not in again])

    def _draw(
        self, drawn: list[tuple[int, int]], labels: Sequence[int], row_seeds: Sequence[int]
    ) -> Tensor:
        """Pictures of candidates, which are given by row and number."""
        seeds = [derive_seed(row_seeds[row], candidate) for row, candidate in drawn]
        return self.model.sample([labels[row] for row, _ in drawn], seeds)

    def _check(
        self, drawn: list[tuple[int, int]], images_BHWC: Tensor, labels: list[int], checks: Checks
    ) -> CheckedImages:
        errors_B, ratios_B = self.oddities.errors(images_BHWC), self.copies.ratios(images_BHWC)
        read_B = read_labels(self.classifier, images_BHWC)
        found = zip(errors_B.tolist(), ratios_B.tolist(), read_B.tolist(), labels, strict=True)
        problems = [list(self._problems(*figures, checks)) for figures in found]
        rows, candidates = (list(numbers) for numbers in zip(*drawn, strict=True))
        return CheckedImages(rows, images_BHWC, errors_B, ratios_B, candidates, problems)

    def _problems(
        self, error: float, ratio: float, read: int, label: int, checks: Checks
    ) -> Iterator[str]:
        if checks.reject_odd and error > self.oddities.limit:
            yield f"odd: reconstruction error {error:.4f}, the limit is {self.oddities.limit:.4f}"
        if checks.reject_copies and ratio < self.copies.limit:
            yield f"near copy: distance ratio {ratio:.3f}, the limit is {self.copies.limit:.3f}"
        if checks.reject_misread and read != label:
            yield f"misread: a classifier of real pictures takes it for {self.label_names[read]}"


def _further(drawn: Sequence[tuple[int, int]], num_candidates: int) -> Iterator[tuple[int, int]]:
    """Later candidates of the same rows, the next ones first: in a batch that is not full they cost
    nothing."""
    for ahead in range(1, num_candidates):
        yield from (
            (row, number + ahead) for row, number in drawn if number + ahead <= num_candidates
        )


def train_checked_image_model(
    data: LabelledImages,
    label_names: Sequence[str],
    folder: Path,
    *,
    settings: ImageTrainingSettings,
    work_dir: Path,
    on_progress: Callable[[TrainingProgress], None] | None = None,
    on_checkpoint: Callable[[Path], None] | None = None,
) -> dict[str, float]:
    """Trains generator and filters into one folder; metrics are of pictures before the filters.

    As `train_image_model`, which see.
    """
    end = 1 / (1 + FILTER_SHARE)

    def report(begin: float, share: float) -> Callable[[TrainingProgress], None]:
        def tell(progress: TrainingProgress) -> None:
            if on_progress:
                on_progress(replace(progress, fraction=begin + share * progress.fraction))

        return tell

    metrics = train_image_model(
        data.images_BHWC,
        data.labels_B,
        label_names,
        folder,
        settings=settings,
        work_dir=work_dir,
        on_progress=report(0.0, end),
        on_checkpoint=on_checkpoint,
    )
    oddities = train_oddity_filter(
        data, scaled(settings, FILTER_SHARE), work_dir / ODDITIES, on_progress=report(end, 1 - end)
    )
    if not is_first():
        return {}
    oddities.save(folder / ODDITIES)
    training, held_out = split(data, settings.validation_share, settings.seed)
    NearCopyFilter.fit(training.images_BHWC, held_out.images_BHWC).save(folder / COPIES)
    return metrics
