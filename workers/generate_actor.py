"""The actor that generates: holds one model and turns shards into part files."""

import logging
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import ray
import torch

from aigc_models.tracing import TRACE_SUFFIX, tracing
from infra.settings import Settings
from infra.storage import open_storage
from workers.earlier_attempts import EarlierAttempts
from workers.jobs import find_job
from workers.models import MODELS
from workers.part import Receipt, write_part
from workers.plan import Plan
from workers.registry import version_prefix
from workers.reports import Report, Reporter
from workers.rows import RowGenerator
from workers.shard_reader import ShardReader

log = logging.getLogger("nightshift.generate")

SAY_EVERY_S = 10.0
"""Shards that went well are told no more often: a plan may have a million."""


class GenerateActor:
    """Call `load` once, then `generate` for each shard.

    Nothing that may fail happens before `load`: what a constructor raises looks to Ray like an actor that died.
    """

    def __init__(self, settings: Settings, plan: Plan, label: str) -> None:
        self._node = ray.util.get_node_ip_address()
        self._reporter = Reporter(label, self._node)
        self._settings, self._plan = settings, plan
        self._said_at = -SAY_EVERY_S
        self._has_traced = False

    def load(self) -> str:
        """Opens the store and loads the plan's model; returns the node's address."""
        started = time.monotonic()
        self._reporter.progress(0, "loading the model")
        plan = self._plan
        self._storage, self._job = open_storage(self._settings, is_in_use=True), find_job(plan.job)
        settings = self._job.parse_settings(plan.settings)
        torch.set_num_threads(settings.threads)
        device = "cuda" if settings.num_gpus and torch.cuda.is_available() else "cpu"
        with tempfile.TemporaryDirectory() as folder:
            self._storage.download(version_prefix(plan.model.name, plan.model.version), Path(folder))
            model = MODELS[plan.model.name].load(Path(folder), device)
        self._reader = ShardReader(self._storage, plan, self._job)
        self._earlier = EarlierAttempts(self._storage, plan, self._job)
        self._generator = RowGenerator(self._job, model, plan.model.version, settings)
        log.info("model %s on %s after %.1f s", plan.model.version, device, time.monotonic() - started)
        return self._node

    def generate(self, index: int, lost_s: float = 0.0) -> Receipt:
        """Generates and writes one shard; its bytes depend on the plan and the kind of hardware only.

        `lost_s`: what actors that were lost had already spent on it.
        """
        started = time.monotonic()
        self._tell_progress(index, 0)
        rows, num_future = self._reader.read(self._plan.shard(index))
        result = self._earlier.find(index, rows)
        with self._tracing_first(index) as mark_batch:

            def tell(done: int) -> None:
                mark_batch()
                self._tell_progress(index, done)

            self._generator.complete(result, rows, self._plan.attempts, tell)
        table = result.table()
        receipt = Receipt(
            shard=index,
            fingerprint=self._plan.fingerprint,
            input_rows=rows.num_rows,
            accepted=table.num_rows,
            rejected=result.num_rejected,
            quarantined=result.num_quarantined,
            future=num_future,
            seconds=round(time.monotonic() - started, 3),
            wasted_seconds=round(lost_s, 3),
            node=self._node,
        )
        receipt = write_part(self._storage, self._plan, receipt, table, result.quarantine())
        self._tell_result(receipt, result.first_error())
        self._reporter.progress(0)
        return receipt

    @contextmanager
    def _tracing_first(self, index: int) -> Iterator[Callable[[], None]]:
        """Traces the first shard of this actor, if that is asked for; gives what to call after each batch."""
        num_batches = 0 if self._has_traced else self._plan.settings["trace_batches"]
        self._has_traced = True
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, f"shard-{index:06d}{TRACE_SUFFIX}")
            with tracing(path, skip=0, record=num_batches) as mark_batch:
                yield mark_batch
            if path.exists():
                self._storage.put_file(f"{self._plan.trace_prefix}{path.name}", path)
                log.info("traced up to %d batches: %s%s", num_batches, self._plan.trace_prefix, path.name)

    def _tell_progress(self, index: int, done: int) -> None:
        self._reporter.progress(done, f"shard {index}")

    def _tell_result(self, receipt: Receipt, error: str) -> None:
        if receipt.quarantined:
            log.warning("shard %d: %d rows raised, the first one %s", receipt.shard, receipt.quarantined, error)
        if time.monotonic() - self._said_at < SAY_EVERY_S:
            return
        self._said_at = time.monotonic()
        log.info(
            "shard %d: %d rows in %.1f s (%d rejected, %d quarantined)",
            receipt.shard, receipt.accepted, receipt.seconds, receipt.rejected, receipt.quarantined,
        )  # fmt: skip

    def report(self) -> Report:
        return self._reporter.fetch()
