import io
from math import nan

import pytest
from rich.console import Console

from flows.cli import partitions, terminal
from workers.jobs import JOBS
from workers.partitions.states import PartitionState

MODEL = "2026-11-30-flow-6ef7671e"


def test_a_figure_that_some_nights_lack_is_spanned_by_the_others() -> None:
    assert partitions.span_cells([nan, 3.0, 0.5, nan]) == ("", "0.5 to 3")
    assert partitions.span_cells([nan]) == ("", "")


@pytest.mark.parametrize("jobs", [list(JOBS), ["product_descriptions"]], ids=["all", "one"])
def test_a_list_of_partitions_fits_into_80_columns(
    jobs: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    output = io.StringIO()
    monkeypatch.setattr(terminal, "console", Console(file=output, width=80))
    states = [
        PartitionState(
            job=job,
            date="2026-11-30",
            state="unfinished",
            fingerprint="d9f5a917de76b0f6",
            rows=125_000,
            shards_done=12,
            shards=100,
            model=MODEL,
            at="2026-12-01T02:05:31+00:00",
        )
        for job in jobs
    ]
    partitions.list_states("Partitions", states)
    lines = output.getvalue().splitlines()
    assert max(map(len, lines)) <= 80
    assert len(lines) == 3 + len(jobs)
    assert all(any(job in line for line in lines) for job in jobs)
    assert all("125,000" in line for line in lines[3:])
    assert (MODEL in output.getvalue()) == (len(jobs) == 1)
