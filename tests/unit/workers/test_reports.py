import logging
from collections.abc import Iterator

import pytest

from workers.reports import MAX_LINES, LogLine, Reporter

log = logging.getLogger("nightshift.test")


@pytest.fixture
def reporter() -> Iterator[Reporter]:
    reporter = Reporter("actor 3", "10.0.0.7")
    yield reporter
    logging.getLogger("nightshift").removeHandler(reporter)


def test_a_line_says_who_spoke_where_and_is_told_once(reporter: Reporter) -> None:
    log.warning("shard %d is slow", 5)
    assert reporter.fetch().lines == [LogLine(logging.WARNING, "actor 3 on 10.0.0.7 · shard 5 is slow")]
    assert reporter.fetch().lines == []


def test_a_flood_of_lines_is_cut_and_says_so(reporter: Reporter) -> None:
    for number in range(MAX_LINES + 30):
        log.info("line %d", number)
    lines = reporter.fetch().lines
    assert len(lines) == MAX_LINES + 1
    assert lines[-1].text.endswith("30 further lines are left out")
    log.info("next")
    assert len(reporter.fetch().lines) == 1


def test_progress_stands_until_it_is_told_anew(reporter: Reporter) -> None:
    reporter.progress(12, "shard 5")
    for report in (reporter.fetch(), reporter.fetch()):
        assert (report.node, report.done, report.doing) == ("10.0.0.7", 12, "shard 5")
