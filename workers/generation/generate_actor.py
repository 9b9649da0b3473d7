"""The actor that generates: holds one model and turns shards into part files."""

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

SAY_EVERY_S = 10.0
"""Shards that went well are told no more often: a plan may have a million."""


class GenerateActor:
    """Call `load` for a plan, then `generate` for each of its shards; then `load` for the next
    plan.

    Several calls of `generate` may be at work: one generates, others read their rows or write their
    part meanwhile. Nothing that may fail happens before `load`: what a constructor raises looks to
    Ray like an actor that died.
    """

    def __init__(self, settings: Settings, label: str) -> None:
        self._node = ray.util.get_node_ip_address()
        self._reporter = Reporter(label, self._node)
        self._settings = settings
        self._reading, self._generating = Lock(), Lock()
        self._said_at = -SAY_EVERY_S
        self._model: tuple[ModelPin, str, Any] | None = None

    def load(self, plan: Plan, files: ModelFiles) -> str:
        """Opens the store and loads the plan's model, if it is another one; returns the node's
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
            self._model = None  # two at once might not fit
            self._model = (plan.model, device, load_model(plan.model.name, files, device))
            log.info(
                "model %s on %s after %.1f s",
                plan.model.version,
                device,
                time.monotonic() - started,
            )
        self._reader = ShardReader(self._storage, plan, self._job)
        self._earlier = EarlierAttempts(self._storage, plan, self._job)
        self._generator = RowGenerator(self._job, self._model[2], plan.model.version, settings)
        self._accounted_until = time.monotonic()
        return self._node

    def generate(self, index: int, lost_s: float = 0.0) -> Receipt:
        """Generates and writes one shard; its bytes depend on the plan and the kind of hardware
        only.

        `lost_s`: what actors that were lost had already spent on it.
        """
        started = time.monotonic()
        with self._reading:
            rows, num_future = self._reader.read(self._plan.shard(index))
            result = self._earlier.find(index, rows)
        with self._generating:
            self._complete(index, result, rows)
            table, now = result.table(), time.monotonic()
            receipt = Receipt(
                shard=index,
                fingerprint=self._plan.fingerprint,
                input_rows=rows.num_rows,
                accepted=table.num_rows,
                rejected=result.num_rejected,
                quarantined=result.num_quarantined,
                future=num_future,
                seconds=round(now - max(started, self._accounted_until), 3),
                wasted_seconds=round(lost_s, 3),
                node=self._node,
            )
            self._accounted_until = now
        receipt = write_part(self._storage, self._plan, receipt, table, result.quarantine())
        self._tell_result(receipt, result.first_error())
        del self._done[index]
        self._tell_progress()
        return receipt

    def _complete(self, index: int, result: ShardRows, rows: pa.Table) -> None:
        self._shard, self._done[index] = index, 0
        self._tell_progress()
        with self._tracing_first(index) as mark_batch:

            def tell(done: int) -> None:
                mark_batch()
                self._done[index] = done
                self._tell_progress()

            self._generator.complete(result, rows, self._plan.attempts, tell)

    def _tell_progress(self) -> None:
        """Of all shards whose receipt the driver does not have yet."""
        self._reporter.progress(sum(tuple(self._done.values())), f"shard {self._shard}")

    @contextmanager
    def _tracing_first(self, index: int) -> Iterator[Callable[[], None]]:
        """Traces the first shard of this actor, if that is asked for; gives what to call after each
        batch."""
        num_batches = 0 if self._has_traced else self._plan.settings["trace_batches"]
        self._has_traced = True
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, f"shard-{index:06d}{TRACE_SUFFIX}")
            with tracing(path, skip=0, record=num_batches) as mark_batch:
                yield mark_batch
            if path.exists():
                self._storage.put_file(f"{self._plan.trace_prefix}{path.name}", path)
                log.info(
                    "traced up to %d batches: %s%s", num_batches, self._plan.trace_prefix, path.name
                )

    def _tell_result(self, receipt: Receipt, error: str) -> None:
        if receipt.quarantined:
            log.warning(
                "shard %d: %d rows raised, the first one %s",
                receipt.shard,
                receipt.quarantined,
                error,
            )
        if time.monotonic() - self._said_at < SAY_EVERY_S:
            return
        self._said_at = time.monotonic()
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
