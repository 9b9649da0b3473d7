"""`nightshift show` on a folder as store, without any server."""

import json
from datetime import UTC, datetime, timedelta
from math import nan
from pathlib import Path

import pytest
from typer.testing import CliRunner

from flows.cli.app import app
from flows.cli.terminal import SPARKS, sparkline
from infra.settings import load_settings
from infra.storage import Storage, open_storage
from tests.unit.workers.report.test_overview import publish
from tests.unit.workers.report.test_people import prepared_plan
from workers.partitions.states import record_outcome
from workers.report import report_key

JOB = "recommendation_texts"
TODAY = datetime.now(UTC).date()
FIRST, SECOND, HELD = ((TODAY - timedelta(days=number)).isoformat() for number in (3, 2, 1))
SCRIPT = "[red]<script>alert(1)</script>"


@pytest.fixture
def storage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Storage:
    monkeypatch.setenv("NIGHTSHIFT_STORAGE_URI", tmp_path.as_uri())
    monkeypatch.setenv("NIGHTSHIFT_PRICE_PER_HOUR", "2")
    load_settings.cache_clear()
    storage = open_storage(load_settings())
    publish(storage, FIRST)
    publish(storage, SECOND)
    held = prepared_plan(storage, HELD)
    held.store(storage)
    record_outcome(storage, held, "held", [f"passed_share is 0 {SCRIPT}"])
    yield storage
    load_settings.cache_clear()


def shown(*words: str) -> str:
    result = CliRunner().invoke(app, ["show", *words])
    assert result.exit_code == 0, result.output
    return " ".join(result.output.replace("│", " ").split())


def test_the_calendar_shows_six_weeks(storage: Storage) -> None:
    text = shown()
    line = text.partition(f"{JOB} ")[2].partition("●, ")[0]
    assert line.count("●") >= 2
    assert line.count("▲") >= 1
    assert "● published, ▲ held, ✕ failed, ! damaged, ○ unfinished" in text
    assert f"{JOB} 2 4 0.0% 2.0 0.000 0.00" in text, (
        "nights, rows, set aside, rows per second, hours, cost"
    )


def test_one_job_shows_how_its_figures_moved(storage: Storage) -> None:
    assert "rows published ▁▁ 2 2 to 2" in shown(JOB)
    assert "night by night" not in shown()


def test_only_the_newest_partitions_are_listed(storage: Storage) -> None:
    text = shown(JOB, "--last", "1")
    assert HELD in text
    assert SECOND not in text
    assert "and 2 earlier ones: --last 3" in text


def test_a_held_partition_shows_its_reason_unchanged_and_how_to_publish(
    storage: Storage,
) -> None:
    text = shown(JOB, "--date", HELD)
    assert SCRIPT in text
    assert f"`nightshift run {JOB} --date {HELD} --ignore-gates`" in text


def test_a_date_in_full_for_scripts_has_its_page(storage: Storage) -> None:
    storage.put(report_key(JOB, FIRST), b"page")
    (state,) = json.loads(CliRunner().invoke(app, ["show", JOB, "--date", FIRST, "--json"]).output)
    assert state["report"] == f"reports/{JOB}/dt={FIRST}/index.html"
    assert state["set_aside"] == {}
    assert state["manifest"]["counts"]["accepted"] == 2


def test_sparklines_scale_from_the_least_to_the_most() -> None:
    assert sparkline([0, nan, 7, 3.5]) == f"{SPARKS[0]} {SPARKS[-1]}{SPARKS[4]}"
    assert sparkline([]) == ""
