"""Generates pictures with checks: draws candidates for each row until one passes the filters.

A second thread filters pictures while the next ones are generated. Which pictures share a batch
never depends on how fast either is, because rounding may depend on the batch.

B batch, N training pictures, H height, W width, C colours.
"""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
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
from aigc_models.images.training import (
    CLASSIFIER,
    ImageTrainingSettings,
    scale_budget,
    train_image_model,
)
from aigc_models.seeds import derive_seed
from aigc_models.training.data_parallel import is_first
from aigc_models.training.settings import TrainingProgress

ODDITIES, COPIES = "oddities", "copies"
"""Folders of the filters, inside the model's."""
CHECKED_AT_ONCE = 256
MAX_UNCHECKED = 2
"""Batches that may be generated before the first of them is filtered."""
FILTER_SHARE = 0.1
"""Training budget of the oddity filter, as a share of the generator's and in addition to it."""


@dataclass(frozen=True, slots=True)
class Candidate:
    row: int
    """Index of the row in the call of `generate`."""
    number: int
    """From 1 for each row."""


@dataclass(frozen=True, slots=True)
class CheckedImages:
    """Pictures of some rows, with the results of the checks."""

    rows: list[int]
    """Indices of the rows in the call of `generate`."""
    images_BHWC: Tensor
    """uint8."""
    errors_B: Tensor
    """Reconstruction errors: mean squares, for pixels from -1 to 1."""
    ratios_B: Tensor
    """Distances to the nearest training picture, divided by those to the second nearest."""
    candidates: list[int]
    """The number of each row's candidate, from 1."""
    problems: list[list[str]]
    """Empty if the picture passed. Otherwise no candidate of the row passed, and this is the last
    one."""

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
    """An image model with its filters: the interface that jobs use."""

    def __init__(
        self,
        model: ImageModel,
        oddities: OddityFilter,
        copies: NearCopyFilter,
        classifier: Classifier,
    ) -> None:
        self.model = model
        self.oddities = oddities
        self.copies = copies
        self.classifier = classifier

    @classmethod
    def load(cls, folder: Path, *, device: str = "cpu") -> "CheckedImageModel":
        """Reads a checkpoint folder.

        Raises `CheckpointError`, which names what is missing or damaged.
        """
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
        """Yields every row once, in groups, when the row is finished.

        A picture depends only on its row's label and seed; the last bits of errors and ratios may
        also depend on the batch.
        """
        if len(labels) != len(row_seeds):
            raise ValueError(f"{len(labels)} labels but {len(row_seeds)} row seeds")
        to_draw = deque(Candidate(row, 1) for row in range(len(labels)))
        in_check: deque[Future[CheckedImages]] = deque()
        with ThreadPoolExecutor(1) as thread:
            while to_draw or in_check:
                if to_draw and len(in_check) < MAX_UNCHECKED:
                    batch = _take_batch(to_draw, checks.num_candidates)
                    batch_labels = [labels[candidate.row] for candidate in batch]
                    seeds = [derive_seed(row_seeds[c.row], c.number) for c in batch]
                    images_BHWC = self.model.sample(batch_labels, seeds)
                    in_check.append(
                        thread.submit(self._check, batch, images_BHWC, batch_labels, checks)
                    )
                else:
                    checked = in_check.popleft().result()
                    finished, retries = _sort_out(checked, checks.num_candidates)
                    to_draw.extendleft(retries)  # retries come before rows not drawn yet
                    if finished:
                        yield checked.select(finished)

    def _check(
        self,
        candidates: list[Candidate],
        images_BHWC: Tensor,
        labels: list[int],
        checks: Checks,
    ) -> CheckedImages:
        errors_B = self.oddities.errors(images_BHWC)
        ratios_B = self.copies.ratios(images_BHWC)
        read_B = read_labels(self.classifier, images_BHWC)
        results = zip(errors_B.tolist(), ratios_B.tolist(), read_B.tolist(), labels, strict=True)
        return CheckedImages(
            rows=[candidate.row for candidate in candidates],
            images_BHWC=images_BHWC,
            errors_B=errors_B,
            ratios_B=ratios_B,
            candidates=[candidate.number for candidate in candidates],
            problems=[list(self._problems(*result, checks)) for result in results],
        )

    def _problems(
        self, error: float, ratio: float, read: int, label: int, checks: Checks
    ) -> Iterator[str]:
        if checks.reject_odd and error > self.oddities.limit:
            yield f"odd: reconstruction error {error:.4f}, the limit is {self.oddities.limit:.4f}"
        if checks.reject_copies and ratio < self.copies.limit:
            yield f"near copy: distance ratio {ratio:.3f}, the limit is {self.copies.limit:.3f}"
        if checks.reject_misread and read != label:
            yield f"misread: a classifier of real pictures takes it for {self.label_names[read]}"


def _take_batch(to_draw: deque[Candidate], num_candidates: int) -> list[Candidate]:
    """Takes the first candidates from the queue.

    The model always draws at least `BATCH_IMAGES` pictures. A smaller batch is therefore filled up
    with the next candidates of the same rows, which cost nothing and may save a retry.
    """
    batch = [to_draw.popleft() for _ in range(min(CHECKED_AT_ONCE, len(to_draw)))]
    num_spare = max(0, BATCH_IMAGES - len(batch))
    later = (
        Candidate(candidate.row, candidate.number + ahead)
        for ahead in range(1, num_candidates)
        for candidate in batch
        if candidate.number + ahead <= num_candidates
    )
    return [*batch, *islice(later, num_spare)]


def _sort_out(checked: CheckedImages, num_candidates: int) -> tuple[list[int], list[Candidate]]:
    """Sorts rows of a checked batch into finished and failed ones.

    Returns the finished rows' places in the batch, and the next candidates of the failed rows.
    """
    finished, retries = [], []
    for place in _select_best(checked):
        number = checked.candidates[place]
        if checked.problems[place] and number < num_candidates:
            retries.append(Candidate(checked.rows[place], number + 1))
        else:
            finished.append(place)
    return finished, retries


def _select_best(checked: CheckedImages) -> list[int]:
    """For each row, the place of its first candidate that passed, otherwise of its last one."""
    best: dict[int, int] = {}
    for place, row in enumerate(checked.rows):
        if row not in best or checked.problems[best[row]]:
            best[row] = place
    return list(best.values())


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
    """Trains generator and filters and writes both to one folder.

    Like `train_image_model`, whose metrics it returns: they are of pictures before the filters.
    """
    generator_share = 1 / (1 + FILTER_SHARE)

    def report_generator(progress: TrainingProgress) -> None:
        if on_progress:
            on_progress(replace(progress, fraction=generator_share * progress.fraction))

    def report_filter(progress: TrainingProgress) -> None:
        if on_progress:
            fraction = generator_share + (1 - generator_share) * progress.fraction
            on_progress(replace(progress, fraction=fraction))

    metrics = train_image_model(
        data.images_BHWC,
        data.labels_B,
        label_names,
        folder,
        settings=settings,
        work_dir=work_dir,
        on_progress=report_generator,
        on_checkpoint=on_checkpoint,
    )
    filter_settings = scale_budget(settings, FILTER_SHARE)
    oddities = train_oddity_filter(
        data, filter_settings, work_dir / ODDITIES, on_progress=report_filter
    )
    if not is_first():
        return {}
    oddities.save(folder / ODDITIES)
    training, held_out = split(data, settings.validation_share, settings.seed)
    NearCopyFilter.fit(training.images_BHWC, held_out.images_BHWC).save(folder / COPIES)
    return metrics
