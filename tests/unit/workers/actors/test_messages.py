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


def test_a_line_names_its_actor_and_node_and_is_reported_once(reporter: Reporter) -> None:
    log.warning("shard %d is slow", 5)
    assert reporter.fetch().lines == [
        LogLine(logging.WARNING, "actor 3 on 10.0.0.7 · shard 5 is slow")
    ]
    assert reporter.fetch().lines == []


def test_too_many_lines_are_cut_off_and_counted(reporter: Reporter) -> None:
    for number in range(MAX_LINES + 30):
        log.info("line %d", number)
    lines = reporter.fetch().lines
    assert len(lines) == MAX_LINES + 1
    assert lines[-1].text.endswith("30 further lines are left out")
    log.info("next")
    assert len(reporter.fetch().lines) == 1


def test_progress_stays_until_it_is_reported_again(reporter: Reporter) -> None:
    reporter.progress(12, "shard 5")
    for report in (reporter.fetch(), reporter.fetch()):
        assert (report.node, report.done, report.doing) == ("10.0.0.7", 12, "shard 5")


def test_reports_of_another_process_are_forwarded_with_its_node(reporter: Reporter) -> None:
    lines = [LogLine(logging.INFO, f"worker · line {number}") for number in range(MAX_LINES + 2)]
    for part in (lines[:3], lines[3:]):
        reporter.forward(Report(node="10.0.0.8", lines=part, done=0.5, doing="step 10"))
    report = reporter.fetch()
    assert (report.node, report.done, report.doing) == ("10.0.0.8", 0.5, "step 10")
    assert report.lines[:-1] == lines[:MAX_LINES]
    assert report.lines[-1].text == "actor 3 on 10.0.0.8 · 2 further lines are left out"
    assert reporter.fetch().lines == []


def test_an_unknown_node_is_not_named() -> None:
    reporter = Reporter("training", node="")
    log.warning("waits")
    logging.getLogger("nightshift").removeHandler(reporter)
    assert [line.text for line in reporter.fetch().lines] == ["training · waits"]
