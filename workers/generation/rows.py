"""From a shard's input to its rows: generate batch by batch, set aside what failed, try that again.

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
    """What a batch raised, in words: the error itself would keep the tensors of its frames in
    memory."""

    row_id: str | None
    """The batch's first row: the one to blame where it is alone. None where the row has no id."""
    error: str
    trace: str
    is_out_of_memory: bool


@dataclass(slots=True)
class ShardRows:
    """What became of a shard's rows. A position is a row's place in the shard."""

    job: Job
    attempts: int = 0
    """How often the rows that are set aside were tried."""
    accepted: list[pa.Table] = field(default_factory=list)
    accepted_at: list[int] = field(default_factory=list)
    """The position of each accepted row."""
    set_aside: dict[int, dict[str, Any]] = field(default_factory=dict)
    """Why the row at a position is not accepted: a row of the quarantine file."""

    @property
    def num_rejected(self) -> int:
        return sum(row["stage"] == "check" for row in self.set_aside.values())

    @property
    def num_quarantined(self) -> int:
        return len(self.set_aside) - self.num_rejected

    def first_error(self) -> str:
        """What the first row raised that is set aside for that; empty where none is."""
        raised = (row for _, row in sorted(self.set_aside.items()) if row["stage"] == "generate")
        return next(
            (f"({row['row_id']}): {row['error'].partition(chr(10))[0]}" for row in raised), ""
        )

    def table(self) -> pa.Table:
        """The accepted rows in the input's order."""
        if not self.accepted:
            return self.job.schema.empty_table()
        return pa.concat_tables(self.accepted).take(np.argsort(self.accepted_at))

    def quarantine(self) -> pa.Table:
        rows = [
            self.set_aside[position] | {"attempts": self.attempts}
            for position in sorted(self.set_aside)
        ]
        return pa.Table.from_pylist(rows, QUARANTINE)

    def add(self, positions: Sequence[int], outcome: "pa.Table | Failure") -> None:
        """Takes what became of the rows at `positions` when they were tried just now."""
        if isinstance(outcome, Failure):
            (position,) = positions
            row_id = (
                f"row {position + 1} of the shard" if outcome.row_id is None else outcome.row_id
            )
            self.set_aside[position] = _set_aside(
                row_id, "generate", outcome.error, outcome.trace, None
            )
            return
        self.accepted.append(outcome.filter(outcome["passed"]))
        rejected = iter(outcome.filter(pc.invert(outcome["passed"])).to_pylist())
        for position, passed in zip(positions, outcome["passed"].to_pylist(), strict=True):
            if passed:
                self.accepted_at.append(position)
                self.set_aside.pop(position, None)
            else:
                row = next(rejected)
                row_id, problems = row[self.job.id_column], "; ".join(row["checks"])
                self.set_aside[position] = _set_aside(
                    row_id, "check", problems, "", json.dumps(row, default=_as_text)
                )


def _set_aside(
    row_id: str, stage: str, error: str, trace: str, output: str | None
) -> dict[str, Any]:
    return {"row_id": row_id, "stage": stage, "error": error, "traceback": trace, "output": output}


def _as_text(value: Any) -> str:
    return b64encode(value).decode() if isinstance(value, bytes) else str(value)


class RowGenerator:
    """Runs a job over rows with one model. Once a batch did not fit into memory, all later ones are
    smaller."""

    def __init__(self, job: Job, model: Any, model_version: str, settings: Any) -> None:
        self._job, self._model, self._model_version, self._settings = (
            job,
            model,
            model_version,
            settings,
        )
        self._max_rows: int = settings.batch_rows

    def complete(
        self, result: ShardRows, rows: pa.Table, attempts: int, on_rows: Callable[[int], None]
    ) -> None:
        """Tries every row of the shard, then those that are set aside again until they had
        `attempts` attempts.

        `on_rows` hears how many rows are done. Raises OutOfMemory for a row that does not fit even
        alone.
        """
        while result.attempts < attempts:
            positions = sorted(result.set_aside) if result.attempts else list(range(rows.num_rows))
            result.attempts += 1
            done = rows.num_rows - len(positions)
            pending = rows.take(pa.array(positions, pa.int64()))
            for start, stop, outcome in self._try_rows(pending, result.attempts):
                result.add(positions[start:stop], outcome)
                on_rows(done + stop)

    def _try_rows(
        self, rows: pa.Table, attempt: int
    ) -> Iterator[tuple[int, int, pa.Table | Failure]]:
        """Yields rows [start, stop) and what became of them, in order.

        A batch that raises is halved until the row that is to blame stands alone.
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
        job, ids = self._job, batch[self._job.id_column].to_pylist()
        seeds = row_seeds(attempt_seed(self._settings.seed, attempt), ids)
        try:
            if None in ids:
                raise InputError(f"column {job.id_column}: found null; expected an id")
            generated = job.generate(self._model, batch, seeds, self._settings)
            if generated[job.id_column].to_pylist() != ids:
                raise GenerationError(
                    f"job {job.name} broke the row contract: other ids came back than went in"
                )
            table = generated.append_column("row_seed", pa.array(seeds, pa.int64()))
            table = table.append_column(
                "model_version", pa.array([self._model_version] * len(ids), pa.string())
            )
            return table.cast(job.schema)
        except Exception as exc:  # noqa: BLE001  one bad row must never kill a job, whatever it raises
            return Failure(
                ids[0],
                str(exc) or type(exc).__name__,
                traceback.format_exc(),
                is_out_of_memory(exc),
            )

    def _shrink(self, num_rows: int, failure: Failure) -> None:
        from aigc_models.device import release_memory  # noqa: PLC0415  # drivers know this file, and need no torch

        release_memory()
        if num_rows == 1:
            raise OutOfMemory(f"ran out of memory with row {failure.row_id} alone: {failure.error}")
        self._max_rows = (num_rows + 1) // 2
        log.warning(
            "out of memory with %d rows at once; batches have %d from now on",
            num_rows,
            self._max_rows,
        )
