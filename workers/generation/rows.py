"""Turns a shard's input into rows: generates batch by batch, sets failed rows aside, retries those.

The row contract: every input row appears exactly once, in the part or in the quarantine table.
Knows nothing about Ray.
"""

import json
import logging
import traceback
from base64 import b64encode
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from infra.errors import GenerationError, InputError, OutOfMemory
from workers.actors.memory import is_out_of_memory
from workers.generation.seeds import attempt_seed, row_seeds
from workers.job import Job
from workers.partitions.parts import QUARANTINE

log = logging.getLogger("nightshift.rows")


@dataclass(frozen=True, slots=True)
class Failure:
    """What a batch raised, as text: the exception would keep its frames' tensors in memory."""

    row_id: str | None
    """The batch's first row, which caused the failure if it is the only one. None if it has no
    id."""
    error: str
    trace: str
    is_out_of_memory: bool


@dataclass(slots=True)
class ShardRows:
    """The outcome of each row of a shard. A position is a row's index in the shard."""

    job: Job
    attempts: int = 0
    """How often the rows that are set aside have been tried."""
    accepted: list[pa.Table] = field(default_factory=list)
    accepted_positions: list[int] = field(default_factory=list)
    """The position of each accepted row."""
    set_aside: dict[int, dict[str, Any]] = field(default_factory=dict)
    """By position, the rows that are not accepted, as rows of the quarantine file."""

    @property
    def num_rejected(self) -> int:
        return sum(row["stage"] == "check" for row in self.set_aside.values())

    @property
    def num_quarantined(self) -> int:
        return len(self.set_aside) - self.num_rejected

    def first_error(self) -> str:
        """The id and the error of the first row that raised; empty if none did."""
        for _, row in sorted(self.set_aside.items()):
            if row["stage"] == "generate":
                first_line = row["error"].partition("\n")[0]
                return f"({row['row_id']}): {first_line}"
        return ""

    def table(self) -> pa.Table:
        """The accepted rows in the input's order."""
        if not self.accepted:
            return self.job.schema.empty_table()
        return pa.concat_tables(self.accepted).take(np.argsort(self.accepted_positions))

    def quarantine(self) -> pa.Table:
        rows = [row | {"attempts": self.attempts} for _, row in sorted(self.set_aside.items())]
        return pa.Table.from_pylist(rows, QUARANTINE)

    def add(self, positions: Sequence[int], outcome: "pa.Table | Failure") -> None:
        """Records the latest outcome of the rows at `positions`: of a single row if it failed."""
        if isinstance(outcome, Failure):
            (position,) = positions
            self._add_failure(position, outcome)
        else:
            self._add_table(positions, outcome)

    def _add_failure(self, position: int, failure: Failure) -> None:
        row_id = failure.row_id
        if row_id is None:
            row_id = f"row {position + 1} of the shard"
        self.set_aside[position] = {
            "row_id": row_id,
            "stage": "generate",
            "error": failure.error,
            "traceback": failure.trace,
            "output": None,
        }

    def _add_table(self, positions: Sequence[int], table: pa.Table) -> None:
        rejected_positions = []
        for position, passed in zip(positions, table["passed"].to_pylist(), strict=True):
            if passed:
                self.accepted_positions.append(position)
                self.set_aside.pop(position, None)
            else:
                rejected_positions.append(position)
        self.accepted.append(table.filter(table["passed"]))
        rejected = table.filter(pc.invert(table["passed"])).to_pylist()
        for position, row in zip(rejected_positions, rejected, strict=True):
            self.set_aside[position] = {
                "row_id": row[self.job.id_column],
                "stage": "check",
                "error": "; ".join(row["checks"]),
                "traceback": "",
                "output": json.dumps(row, default=_as_text),
            }


def _as_text(value: Any) -> str:
    return b64encode(value).decode() if isinstance(value, bytes) else str(value)


class RowGenerator:
    """Runs a job over rows with one model.

    Once a batch did not fit into memory, all later ones are smaller.
    """

    def __init__(self, job: Job, model: Any, model_version: str, settings: Any) -> None:
        self._job = job
        self._model = model
        self._model_version = model_version
        self._settings = settings
        self._max_rows: int = settings.batch_rows

    def complete(
        self, result: ShardRows, rows: pa.Table, attempts: int, on_rows: Callable[[int], None]
    ) -> None:
        """Tries every row of the shard, then retries those set aside, up to `attempts` in all.

        `on_rows` receives the number of rows that are done. Raises OutOfMemory for a row that does
        not fit even alone.
        """
        while result.attempts < attempts:
            positions = sorted(result.set_aside) if result.attempts else list(range(rows.num_rows))
            result.attempts += 1
            num_done = rows.num_rows - len(positions)
            pending = rows.take(pa.array(positions, pa.int64()))
            for start, stop, outcome in self._try_rows(pending, result.attempts):
                result.add(positions[start:stop], outcome)
                on_rows(num_done + stop)

    def _try_rows(
        self, rows: pa.Table, attempt: int
    ) -> Iterator[tuple[int, int, pa.Table | Failure]]:
        """Yields (start, stop, outcome of the rows [start, stop)), in order.

        A batch that raises is halved until the row that causes it stands alone.
        """
        size = self._settings.batch_rows
        todo = deque(
            (start, min(start + size, rows.num_rows)) for start in range(0, rows.num_rows, size)
        )
        while todo:
            start, stop = todo.popleft()
            if stop - start <= self._max_rows:
                outcome = self._try_batch(rows.slice(start, stop - start), attempt)
                if isinstance(outcome, Failure) and outcome.is_out_of_memory:
                    self._shrink(stop - start, outcome)
                elif isinstance(outcome, pa.Table) or stop - start == 1:
                    yield start, stop, outcome
                    continue
            middle = (start + stop) // 2
            todo.extendleft([(middle, stop), (start, middle)])

    def _try_batch(self, batch: pa.Table, attempt: int) -> pa.Table | Failure:
        ids = batch[self._job.id_column].to_pylist()
        try:
            return self._generate(batch, ids, attempt)
        except Exception as exc:  # noqa: BLE001  # one bad row must not kill a job, whatever it raises
            return Failure(
                row_id=ids[0],
                error=str(exc) or type(exc).__name__,
                trace=traceback.format_exc(),
                is_out_of_memory=is_out_of_memory(exc),
            )

    def _generate(self, batch: pa.Table, ids: list[str], attempt: int) -> pa.Table:
        job = self._job
        seeds = row_seeds(attempt_seed(self._settings.seed, attempt), ids)
        if None in ids:
            raise InputError(f"column {job.id_column}: found null; expected an id")
        table = job.generate(self._model, batch, seeds, self._settings)
        if table[job.id_column].to_pylist() != ids:
            raise GenerationError(
                f"job {job.name} broke the row contract: it returned other ids than it was given"
            )
        versions = pa.array([self._model_version] * len(ids), pa.string())
        table = table.append_column("row_seed", pa.array(seeds, pa.int64()))
        table = table.append_column("model_version", versions)
        return table.cast(job.schema)

    def _shrink(self, num_rows: int, failure: Failure) -> None:
        # Drivers import this file, and need no torch.
        from aigc_models.device import release_memory  # noqa: PLC0415

        release_memory()
        if num_rows == 1:
            raise OutOfMemory(f"ran out of memory with row {failure.row_id} alone: {failure.error}")
        self._max_rows = (num_rows + 1) // 2  # half, rounded up
        log.warning(
            "out of memory with %d rows at once; batches have %d from now on",
            num_rows,
            self._max_rows,
        )
