"""The Prefect UI and the reports in headless Chromium, on the real stack."""

import json

import pytest

from tests.support.night import (
    JOB,
    MARKUP,
    MARKUP_ID,
    SLOWEST_SHARDS,
    Night,
    find_actor,
    start_deployment,
    state_of,
    wait_until,
)
from workers.jobs import JOBS
from workers.report import report_key

playwright = pytest.importorskip("playwright.sync_api", reason="needs Playwright")
pytestmark = pytest.mark.timeout(600)
DAYS = ["2026-08-21", "2026-08-22"]


def ui(night: Night) -> str:
    return night.variables["PREFECT_API_URL"].removesuffix("/api")


def deployment_id(night: Night, flow: str, name: str) -> str:
    with night.api as api:
        return api.get(f"deployments/name/{flow}/{name}").json()["id"]


def artifacts(night: Night, run_id: str) -> dict[str, dict]:
    with night.api as api:
        found = api.post("artifacts/filter", json={"flow_runs": {"id": {"any_": [run_id]}}}).json()
    return {artifact["key"]: artifact for artifact in found}


def test_every_job_has_its_deployment_in_the_list(night: Night, page: "playwright.Page") -> None:
    page.goto(f"{ui(night)}/deployments")
    page.get_by_role("link", name="backfill", exact=True).first.wait_for()
    listed = set(page.get_by_role("link").all_inner_texts())
    assert listed >= {
        "nightly",
        "backfill",
        "retry_quarantined",
        "promote",
        "rollback",
        "generate",
        *JOBS,
    }, "the first page of ten"


def test_a_backfill_is_started_from_its_form_and_its_reports_are_read(
    night: Night, page: "playwright.Page"
) -> None:
    backfill_id = deployment_id(night, "backfill", "backfill")
    page.goto(f"{ui(night)}/deployments/deployment/{backfill_id}/run")
    page.get_by_text("First date, YYYY-MM-DD.").wait_for()
    page.locator("form button.p-select-button__control").first.focus()
    page.keyboard.press("Space")
    page.locator(".p-select-option__text", has_text=JOB).click()
    for place, day in enumerate(DAYS):
        page.locator("form textarea").nth(place).fill(day)
    page.get_by_role("button", name="Submit").click()

    def backfills() -> list[dict]:
        with night.api as api:
            named = {"flow_runs": {"name": {"any_": [f"{JOB} · {DAYS[0]} to {DAYS[1]}"]}}}
            return api.post("flow_runs/filter", json=named).json()

    (run,) = wait_until(
        lambda: [run for run in backfills() if run["state"]["type"] == "COMPLETED"], "the backfill"
    )
    page.goto(f"{ui(night)}/runs/flow-run/{run['id']}")
    page.get_by_text(run["name"]).first.wait_for()
    page.get_by_text("Completed").first.wait_for()
    with night.api as api:
        named = {"flow_runs": {"name": {"any_": [f"{JOB} · {DAYS[1]}"]}}}
        (below,) = api.post("flow_runs/filter", json=named).json()
    found = artifacts(night, below["id"])
    page.goto(f"{ui(night)}/artifacts/artifact/{found['product-descriptions-summary']['id']}")
    page.get_by_text("rows published").first.wait_for()
    link = found["product-descriptions-report"]["data"].partition("](")[2].partition(")")[0]
    page.goto(link)
    assert page.title() == f"{JOB} · {DAYS[1]}"
    assert page.locator("svg").count() >= 2
    overview = artifacts(night, run["id"])["overview"]["data"].partition("](")[2].partition(")")[0]
    page.goto(overview)
    page.get_by_text("Sums of published nights").wait_for()


def test_a_title_that_is_markup_is_shown_as_text_wherever_people_look(
    night: Night, page: "playwright.Page"
) -> None:
    day, opened = "2026-08-24", []
    page.on("dialog", lambda dialog: (opened.append(dialog.message), dialog.dismiss()))
    run_id = start_deployment(night, JOB, {"date": day}, flow="generate")
    wait_until(lambda: state_of(night, run_id)["name"] == "Published", "the run")
    found = artifacts(night, run_id)
    page.goto(f"{ui(night)}/runs/flow-run/{run_id}")
    page.get_by_text("Artifacts", exact=True).last.click()
    page.get_by_text("product-descriptions-summary").first.wait_for()
    page.goto(f"{ui(night)}/artifacts/artifact/{found['product-descriptions-summary']['id']}")
    page.get_by_text(MARKUP).first.wait_for()
    page.goto(night.storage.presign(report_key(JOB, day), 600))
    assert page.title() == f"{JOB} · {day}"
    page.locator("tr", has_text=MARKUP_ID).get_by_text(MARKUP).first.wait_for()
    assert page.locator("script").count() == 0
    assert MARKUP in " ".join(night.run("show", JOB, "--date", day).split())
    assert opened == [], "no script ran"


def test_cancelling_in_the_ui_frees_the_actors(night: Night, page: "playwright.Page") -> None:
    run_id = start_deployment(
        night, JOB, {"date": "2026-08-23", "settings": SLOWEST_SHARDS}, flow="generate"
    )
    wait_until(lambda: find_actor(night, "GenerateActor"), "an actor")
    page.goto(f"{ui(night)}/runs/flow-run/{run_id}")
    page.get_by_text("Running").first.wait_for()
    page.get_by_role("button", name="Cancel").first.click()
    page.get_by_role("button", name="Confirm").click()
    wait_until(lambda: state_of(night, run_id)["type"] == "CANCELLED", "the run is cancelled")
    wait_until(lambda: find_actor(night, "GenerateActor") is None, "the actors are gone")
    (state,) = json.loads(night.run("show", JOB, "--date", "2026-08-23", "--json"))
    assert state["state"] == "unfinished"
