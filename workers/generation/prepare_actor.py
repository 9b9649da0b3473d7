"""The actor that prepares the rows of a partition and writes them as one file, exactly once."""

import json
import logging
import tempfile
from functools import partial
from pathlib import Path

import ray

from infra.errors import PreconditionFailed
from infra.settings import Settings
from infra.storage import open_storage
from infra.storage.parquet import write_file
from workers.actors.messages import Report, Reporter
from workers.jobs import find_job
from workers.plans.plan import Plan
from workers.plans.prepared_rows import EXAMPLES_KEY, SUMMARY_KEY
from workers.registry.model_files import fetch_model, load_model

log = logging.getLogger("nightshift.prepare")


class PrepareActor:
    """Prepares rows in `work`.

    Nothing that may fail happens in the constructor: to Ray its errors look like a dead actor.
    """

    def __init__(self, settings: Settings, plan: Plan) -> None:
        self._reporter = Reporter("preparation", ray.util.get_node_ip_address())
        self._settings, self._plan = settings, plan

    def work(self) -> None:
        """Writes the plan's prepared rows, unless another run has written them meanwhile."""
        import torch

        from aigc_models.device import granted_device

        plan, job = self._plan, find_job(self._plan.job)
        assert plan.prepared is not None
        assert job.preparation is not None
        self._reporter.progress(0, "loading the model")
        open_store = partial(open_storage, self._settings, is_in_use=True)
        storage, settings = open_store(), job.parse_settings(plan.settings)
        torch.set_num_threads(settings.threads)
        device = str(granted_device(settings.num_gpus))
        pin = plan.prepared.model
        model = load_model(pin.name, fetch_model(storage, pin.name, pin.version), device)
        preparer = job.preparation.start(open_store, plan, model, settings, self._reporter.progress)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "prepared.parquet")
            num_rows = write_file(
                path,
                preparer.batches(),
                job.preparation.schema,
                lambda: {
                    SUMMARY_KEY: json.dumps(preparer.summary()),
                    EXAMPLES_KEY: json.dumps(preparer.examples()),
                },
            )
            try:
                storage.put_file(plan.prepared_key, path, if_absent=True)
            except PreconditionFailed:
                log.info("another run has prepared these rows meanwhile")
        log.info("%d rows prepared with %s on %s", num_rows, pin.version, device)

    def report(self) -> Report:
        return self._reporter.fetch()
