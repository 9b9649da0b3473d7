"""The actor that generates: it holds one model and turns shards into part files."""

import logging
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import Any

import pyarrow as pa
import ray

from aigc_models.tracing import TRACE_SUFFIX, tracing
from infra.settings import Settings
from infra.storage import open_storage
from workers.actors.messages import Report, Reporter
from workers.generation.earlier_attempts import EarlierAttempts
from workers.generation.rows import RowGenerator, ShardRows
from workers.generation.shard_reader import ShardReader
from workers.jobs import find_job
from workers.partitions.parts import Receipt, write_part
from workers.pins import ModelPin
from workers.plans.plan import Plan
from workers.registry.model_files import ModelFiles, load_model

log = logging.getLogger("nightshift.generate")

LOG_EVERY_S = 10.0
"""Finished shards are logged at most this often: a plan may have a million."""


class GenerateActor:
    """Call `load` for a plan, then `generate` for each of its shards; the same for the next plan.

    Calls of `generate` may overlap: while one generates, others read their rows or write their
    part. Nothing that may fail happens in the constructor: to Ray its errors look like a dead
    actor.
    """

    def __init__(self, settings: Settings, label: str) -> None:
        self._node = ray.util.get_node_ip_address()
        self._reporter = Reporter(label, self._node)
        self._settings = settings
        self._reading, self._generating = Lock(), Lock()
        self._logged_at = -LOG_EVERY_S
        self._model: tuple[ModelPin, str, Any] | None = None

    def load(self, plan: Plan, files: ModelFiles) -> str:
        """Opens the store and loads the plan's model unless it is loaded; returns the node's
        address."""
        import torch

        from aigc_models.device import granted_device

        started = time.monotonic()
        self._reporter.progress(0, "loading the model")
        self._plan, self._has_traced = plan, False
        self._done: dict[int, int] = {}
        self._storage, self._job = open_storage(self._settings, is_in_use=True), find_job(plan.job)
        settings = self._job.parse_settings(plan.settings)
        torch.set_num_threads(settings.threads)
        device = str(granted_device(settings.num_gpus))
        if self._model is None or self._model[:2] != (plan.model, device):
            self._model = None  # frees the old model first: two at once might not fit
            self._model = (plan.model, device, load_model(plan.model.name, files, device))
            seconds = time.monotonic() - started
            log.info("model %s on %s after %.1f s", plan.model.version, device, seconds)
        self._reader = ShardReader(self._storage, plan, self._job)
        self._earlier = EarlierAttempts(self._storage, plan, self._job)
        self._generator = RowGenerator(self._job, self._model[2], plan.model.version, settings)
        self._accounted_until = time.monotonic()
        return self._node

    def generate(self, index: int, lost_s: float = 0.0) -> Receipt:
        """Generates and writes one shard; its bytes depend only on the plan and the kind of
        hardware.

        `lost_s`: the seconds that lost actors have already spent on it.
        """
        started = time.monotonic()
        with self._reading:
            rows, num_future = self._reader.read(self._plan.shard(index))
            result = self._earlier.find(index, rows)
        with self._generating:
            self._complete(index, result, rows)
            table = result.table()
            now = time.monotonic()
            # Time that the previous receipt already covers is not counted twice.
            generated_s = now - max(started, self._accounted_until)
            receipt = Receipt(
                shard=index,
                fingerprint=self._plan.fingerprint,
                input_rows=rows.num_rows,
                accepted=table.num_rows,
                rejected=result.num_rejected,
                quarantined=result.num_quarantined,
                future=num_future,
                seconds=round(generated_s, 3),
                wasted_seconds=round(lost_s, 3),
                node=self._node,
            )
            self._accounted_until = now
        receipt = write_part(self._storage, self._plan, receipt, table, result.quarantine())
        self._log_result(receipt, result.first_error())
        del self._done[index]
        self._report_progress()
        return receipt

    def _complete(self, index: int, result: ShardRows, rows: pa.Table) -> None:
        self._shard, self._done[index] = index, 0
        self._report_progress()
        with self._tracing_first(index) as mark_batch:

            def on_rows(done: int) -> None:
                mark_batch()
                self._done[index] = done
                self._report_progress()

            self._generator.complete(result, rows, self._plan.attempts, on_rows)

    def _report_progress(self) -> None:
        """Reports the rows of all shards whose receipt the driver does not have yet."""
        # The copy is one atomic step: other threads change the dict meanwhile.
        num_done = sum(tuple(self._done.values()))
        self._reporter.progress(num_done, f"shard {self._shard}")

    @contextmanager
    def _tracing_first(self, index: int) -> Iterator[Callable[[], None]]:
        """Traces this actor's first shard if the settings say so; yields a function to call after
        each batch."""
        num_batches = 0 if self._has_traced else self._plan.settings["trace_batches"]
        self._has_traced = True
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, f"shard-{index:06d}{TRACE_SUFFIX}")
            with tracing(path, skip=0, record=num_batches) as mark_batch:
                yield mark_batch
            if path.exists():
                key = f"{self._plan.trace_prefix}{path.name}"
                self._storage.put_file(key, path)
                log.info("traced up to %d batches: %s", num_batches, key)

    def _log_result(self, receipt: Receipt, first_error: str) -> None:
        if receipt.quarantined:
            log.warning(
                "shard %d: %d rows raised, the first one %s",
                receipt.shard,
                receipt.quarantined,
                first_error,
            )
        if time.monotonic() - self._logged_at < LOG_EVERY_S:
            return
        self._logged_at = time.monotonic()
        log.info(
            "shard %d: %d rows in %.1f s (%d rejected, %d quarantined)",
            receipt.shard,
            receipt.accepted,
            receipt.seconds,
            receipt.rejected,
            receipt.quarantined,
        )

    def report(self) -> Report:
        return self._reporter.fetch()
