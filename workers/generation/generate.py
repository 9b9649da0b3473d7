"""Generates what is missing of a plan: looks at what is finished, runs the pool over the rest."""

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


@dataclass(frozen=True, slots=True)
class Progress:
    done_rows: float
    done_shards: int
    total_shards: int


class Tally:
    """The receipts so far and their sums, so that each further one costs the same."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self.receipts: list[Receipt] = []
        self._rows = self._input_rows = self._quarantined = 0

    def add(self, receipt: Receipt) -> None:
        """Raises GenerationError once it is certain that more of the plan's rows raise than its
        error budget allows.

        Whichever shards come first; plans of fewer than 20 rows have no budget.
        """
        self.receipts.append(receipt)
        self._rows += receipt.input_rows + receipt.future
        self._input_rows += receipt.input_rows
        self._quarantined += receipt.quarantined
        budget = self._plan.settings["error_budget"]
        is_whole = len(self.receipts) == self._plan.num_shards
        num_rows = self._input_rows if is_whole else self._plan.num_rows
        if self._input_rows >= MIN_ROWS_FOR_BUDGET and self._quarantined > budget * num_rows:
            raise GenerationError(
                f"{self._quarantined} of {self._input_rows} rows raised, more than the error budget of {budget:.1%}; "
                f"what they raised is in {self._plan.prefix}quarantine-*.parquet. Mend the cause and try them again "
                "with --retry-quarantined, or allow more with --set error_budget=…"
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
    """All receipts of the plan, in shard order; shards that are already written are not generated
    again.

    Raises GenerationError when the error budget is spent or a shard cannot be done; finished shards
    stay.
    """
    plan.store(storage)
    finished = list_parts(storage, plan.prefix)
    tally = Tally(plan)
    for receipt in read_receipts(storage, [item.key for item in finished.values()]):
        tally.add(receipt)
    missing = [index for index in range(plan.num_shards) if index not in finished]
    if finished:
        text = f"{len(finished)} of {plan.num_shards} shards are already written, {len(missing)} are missing"
        on_line(LogLine(logging.INFO, text))
    if missing:
        connect(settings)
        wanted = num_actors or settings.num_actors
        needs = plan.settings
        size = partial(
            pool_size, settings, wanted, len(missing), needs["threads"], needs["num_gpus"]
        )
        on_line(LogLine(logging.INFO, f"{len(missing)} shards on up to {size()} actors"))
        watcher = Watcher(on_line, lambda in_flight: on_progress(tally.progress(in_flight)))
        model = fetch_model(storage, plan.model.name, plan.model.version)
        with Pool(settings, plan, model, size, watcher, is_background=background) as pool:
            for receipt in pool.run(missing):
                tally.add(receipt)
                on_progress(tally.progress())
    return sorted(tally.receipts, key=lambda receipt: receipt.shard)
