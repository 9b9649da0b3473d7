"""The actor that generates: holds one model and turns shards into part files."""

import logging
import tempfile
import time
from pathlib import Path

import ray
import torch

from aigc_models.text import TextModel
from infra.settings import Settings
from infra.storage import open_storage
from workers.jobs import find_job
from workers.part import Receipt, write_part
from workers.plan import Plan
from workers.registry import version_prefix
from workers.reports import Report, Reporter
from workers.rows import RowGroupReader, generate_rows

log = logging.getLogger("nightshift.generate")


class GenerateActor:
    """Loads the plan's model once; each call of `generate` is one shard."""

    def __init__(self, settings: Settings, plan: Plan, label: str) -> None:
        self._node = ray.util.get_node_ip_address()
        self._reporter = Reporter(f"{label} on {self._node}")
        self._storage = open_storage(settings)
        self._plan, self._job = plan, find_job(plan.job)
        self._settings = self._job.parse_settings(plan.settings)
        self._reader = RowGroupReader(self._storage, plan, self._job)
        torch.set_num_threads(self._settings.threads)
        self._model = self._load_model()

    def _load_model(self) -> TextModel:
        started = time.monotonic()
        device = "cuda" if self._settings.num_gpus and torch.cuda.is_available() else "cpu"
        with tempfile.TemporaryDirectory() as folder:
            self._storage.download(version_prefix(self._plan.model.name, self._plan.model.version), Path(folder))
            model = TextModel.load(Path(folder), device=device)
        log.info("model %s on %s after %.1f s", self._plan.model.version, device, time.monotonic() - started)
        return model

    def node(self) -> str:
        """Answers once the model is loaded."""
        return self._node

    def generate(self, index: int) -> Receipt:
        """Generates and writes one shard; its bytes depend on the plan and the kind of hardware only."""
        started = time.monotonic()
        self._reporter.progress(0, f"shard {index}")
        rows, num_future = self._reader.read(self._plan.shard(index))
        result = generate_rows(
            self._job,
            self._model,
            self._plan.model.version,
            rows,
            self._settings,
            lambda done: self._reporter.progress(done, f"shard {index}"),
        )
        table = result.table(self._job.schema)
        receipt = Receipt(
            shard=index,
            fingerprint=self._plan.fingerprint,
            input_rows=rows.num_rows,
            accepted=table.num_rows,
            rejected=result.num_rejected,
            quarantined=result.num_quarantined,
            future=num_future,
            seconds=round(time.monotonic() - started, 3),
            node=self._node,
        )
        receipt = write_part(self._storage, self._plan, receipt, table, result.quarantine())
        log.info(
            "shard %d: %d rows in %.1f s (%d rejected, %d quarantined)",
            index, receipt.accepted, receipt.seconds, receipt.rejected, receipt.quarantined,
        )  # fmt: skip
        self._reporter.progress(0)
        return receipt

    def report(self) -> Report:
        return self._reporter.fetch()
