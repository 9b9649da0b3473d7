"""Generates the missing shards of a plan: finds the finished ones, runs the pool over the rest."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from infra.errors import GenerationError
from infra.settings import Settings
from infra.storage import Storage
from workers.actors.cluster import connect, pool_size
from workers.actors.messages import LogLine, Watcher
from workers.generation.pool import Pool
from workers.partitions.parts import Receipt, list_parts, read_receipts
from workers.plans.plan import Plan
from workers.registry.model_files import fetch_model

MIN_ROWS_FOR_BUDGET = 20
"""Plans with fewer rows have no error budget."""


@dataclass(frozen=True, slots=True)
class Progress:
    done_rows: float
    done_shards: int
    total_shards: int


class Tally:
    """The receipts so far and their sums, so that adding a receipt takes constant time."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self.receipts: list[Receipt] = []
        self._rows = self._input_rows = self._quarantined = 0

    def add(self, receipt: Receipt) -> None:
        """Adds a receipt.

        Raises GenerationError once the plan is certain to exceed its error budget, whatever the
        order in which shards finish.
        """
        self.receipts.append(receipt)
        self._rows += receipt.input_rows + receipt.future
        self._input_rows += receipt.input_rows
        self._quarantined += receipt.quarantined
        self._check_budget()

    def _check_budget(self) -> None:
        budget = self._plan.settings["error_budget"]
        is_complete = len(self.receipts) == self._plan.num_shards
        # How many rows are from the future is known at the end only: until then all may count.
        num_rows = self._input_rows if is_complete else self._plan.num_rows
        if self._input_rows >= MIN_ROWS_FOR_BUDGET and self._quarantined > budget * num_rows:
            raise GenerationError(
                f"{self._quarantined} of {self._input_rows} rows raised, "
                f"more than the error budget of {budget:.1%}; "
                f"their errors are in {self._plan.prefix}quarantine-*.parquet. "
                "Fix the cause and retry them with --retry-quarantined, "
                "or allow more with --set error_budget=…"
            )

    def progress(self, in_flight: float = 0.0) -> Progress:
        done_rows = min(self._rows + in_flight, self._plan.num_rows)
        return Progress(done_rows, len(self.receipts), self._plan.num_shards)


def generate_shards(
    settings: Settings,
    storage: Storage,
    plan: Plan,
    on_line: Callable[[LogLine], None],
    on_progress: Callable[[Progress], None],
    *,
    num_actors: int = 0,
    background: bool = False,
) -> list[Receipt]:
    """Returns all receipts of the plan, in shard order; generates only the missing shards.

    Raises GenerationError when the error budget is exceeded or a shard fails; finished shards are
    kept.
    """
    plan.store(storage)
    finished = list_parts(storage, plan.prefix)
    tally = Tally(plan)
    for receipt in read_receipts(storage, [item.key for item in finished.values()]):
        tally.add(receipt)
    missing = [index for index in range(plan.num_shards) if index not in finished]
    if finished:
        are_written = f"{len(finished)} of {plan.num_shards} shards are already written"
        on_line(LogLine(logging.INFO, f"{are_written}, {len(missing)} are missing"))
    if missing:
        connect(settings)
        wanted = num_actors or settings.num_actors
        num_cpus, num_gpus = plan.settings["threads"], plan.settings["num_gpus"]
        size = partial(pool_size, settings, wanted, len(missing), num_cpus, num_gpus)
        on_line(LogLine(logging.INFO, f"{len(missing)} shards on up to {size()} actors"))
        watcher = Watcher(on_line, lambda in_flight: on_progress(tally.progress(in_flight)))
        model = fetch_model(storage, plan.model.name, plan.model.version)
        with Pool(settings, plan, model, size, watcher, is_background=background) as pool:
            for receipt in pool.run(missing):
                tally.add(receipt)
                on_progress(tally.progress())
    return sorted(tally.receipts, key=lambda receipt: receipt.shard)
