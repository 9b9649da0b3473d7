import logging
from collections.abc import Iterator

import pytest

from workers.actors.messages import MAX_LINES, LogLine, Report, Reporter

log = logging.getLogger("nightshift.test")


@pytest.fixture
def reporter() -> Iterator[Reporter]:
    reporter = Reporter("actor 3", "10.0.0.7")
    yield reporter
    logging.getLogger("nightshift").removeHandler(reporter)


def test_a_line_says_who_spoke_where_and_is_told_once(reporter: Reporter) -> None:
    log.warning("shard %d is slow", 5)
    assert reporter.fetch().lines == [
        LogLine(logging.WARNING, "actor 3 on 10.0.0.7 · shard 5 is slow")
    ]
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


def test_what_another_process_says_is_passed_on_in_its_name(reporter: Reporter) -> None:
    lines = [LogLine(logging.INFO, f"worker · line {number}") for number in range(MAX_LINES + 2)]
    for part in (lines[:3], lines[3:]):
        reporter.pass_on(Report(node="10.0.0.8", lines=part, done=0.5, doing="step 10"))
    report = reporter.fetch()
    assert (report.node, report.done, report.doing) == ("10.0.0.8", 0.5, "step 10")
    assert report.lines[:-1] == lines[:MAX_LINES]
    assert report.lines[-1].text == "actor 3 on 10.0.0.8 · 2 further lines are left out"
    assert reporter.fetch().lines == []


def test_a_place_that_is_not_known_yet_is_not_named() -> None:
    reporter = Reporter("training", node="")
    log.warning("waits")
    logging.getLogger("nightshift").removeHandler(reporter)
    assert [line.text for line in reporter.fetch().lines] == ["training · waits"]
