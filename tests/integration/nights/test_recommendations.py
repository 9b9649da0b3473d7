"""Nights of recommendations on the real stack: train, rank, write, resume; and privacy."""

import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

from tests.support.night import Night, as_options, ended_deployment, find_actor, wait_until
from tests.support.reader import filesystem_of
from workers.inputs.histories import EVENTS
from workers.registry.versions import list_versions, read_champion

pytestmark = pytest.mark.timeout(900)
JOB = "recommendation_texts"
TRAINED, DAY, NEXT = "2026-11-20", "2026-11-21", "2026-11-22"
NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
NUM_USERS, NUM_KNOWN = 40, 30
LIKE_DESCRIPTIONS = as_options("intent=inform num_facts=1")
"""The copywriter of the stack has only learned descriptions."""
SMALL = "max_steps=40 width=16 batch_tokens=128 num_scored=4"


def events(days_later: int = 0) -> list[dict[str, Any]]:
    """Shoppers who go round the catalogue, repeated events, and a shopper of the next day who buys
    an unknown item."""
    rows = [
        {
            "user_id": f"shopper-{user}",
            "item_id": f"p{(user + step) % NUM_KNOWN}",
            "event_time": NOON + timedelta(days=days_later, hours=step - 6),
            "event_type": "purchase",
        }
        for user in range(NUM_USERS)
        for step in range(5)
    ]
    strange = {
        "user_id": "shopper-strange",
        "item_id": "discontinued",
        "event_time": NOON + timedelta(days=days_later + 1),
        "event_type": "purchase",
    }
    return [*rows, *rows[:7], strange]


def put_events(night: Night, name: str, rows: list[dict[str, Any]]) -> None:
    pq.write_table(pa.Table.from_pylist(rows, EVENTS), night.folder / f"{name}.parquet")
    night.run("inputs", "put", "interactions", f"{name}.parquet")


@pytest.fixture(scope="module")
def shop(night: Night) -> Iterator[Night]:
    put_events(night, "events", events() + events(days_later=2)[:20])
    yield night
    for prefix in ("inputs/interactions/", "models/recommender/"):
        night.storage.delete([item.key for item in night.storage.list(prefix)])


def published(night: Night, day: str) -> list[dict[str, Any]]:
    filesystem, root = filesystem_of(night.storage)
    table = ds.dataset(f"{root}/outputs/{JOB}/dt={day}", filesystem=filesystem).to_table()
    return table.sort_by("recommendation_id").to_pylist()


def shas(night: Night, day: str) -> list[str]:
    return [part["sha256"] for part in night.manifest(day, JOB)["parts"]]


def forget(night: Night, day: str) -> None:
    for prefix in (f"outputs/{JOB}/dt={day}/", f"work/{JOB}/dt={day}/"):
        night.storage.delete([item.key for item in night.storage.list(prefix)])


def test_the_deployment_trains_recommenders_and_makes_the_best_champion(shop: Night) -> None:
    parameters = {"model": "recommender", "date": TRAINED, "family": "gru,gpt", "settings": SMALL}
    state = ended_deployment(shop, "train", parameters)
    assert state["type"] == "COMPLETED", state["message"]
    versions = list_versions(shop.storage, "recommender")
    assert {version.family for version in versions} == {"gru", "gpt"}
    assert all(
        version.through == TRAINED and version.metrics["num_events"] == 5 * NUM_USERS
        for version in versions
    )
    found = read_champion(shop.storage, "recommender")
    assert found
    assert found.version in {version.version for version in versions}
    assert "NDCG@10" in shop.run("models", "recommender")


def test_every_user_gets_texts_and_no_log_line_names_a_user(shop: Night) -> None:
    output = shop.run("run", JOB, "--date", DAY, *LIKE_DESCRIPTIONS)
    assert "rows published" in output
    rows = published(shop, DAY)
    counts = shop.manifest(DAY, JOB)["counts"]
    assert len(rows) == counts["accepted"] == 3 * (NUM_USERS + 1) - counts["rejected"]
    assert len({row["recommendation_id"] for row in rows}) == len(rows)
    assert {row["user_id"] for row in rows} >= {f"shopper-{user}" for user in range(NUM_USERS)}
    strange = [row for row in rows if row["user_id"] == "shopper-strange"]
    assert [row["because_item_id"] for row in strange] == [None] * len(strange)
    assert all(row["because_item_id"] for row in rows if row not in strange)
    work = shop.storage.list(f"work/{JOB}/dt={DAY}/")
    keys = [item.key for item in work if item.key.endswith(".json")]
    keys += [f"outputs/{JOB}/dt={DAY}/_SUCCESS", "reports/index.html"]
    files = [shop.storage.get(key).decode() for key in keys]
    texts = [row["text"] for row in rows]
    for text in [output, *texts, *files]:
        assert "shopper" not in text
        assert "discontinued" not in text
    assert "nothing changed since" in shop.run("run", JOB, "--date", DAY, *LIKE_DESCRIPTIONS)


def test_what_was_odd_in_the_inputs_is_in_the_report_beside_some_users(shop: Night) -> None:
    page = shop.storage.get(f"reports/{JOB}/dt={DAY}/index.html").decode()
    for row in (
        "<th>events that were there twice, counted once</th><td>7</td>",
        "<th>events after the date, left out</th><td>20</td>",
        "<th>items that the catalogue lacks: read, never recommended</th><td>1</td>",
        "<th>users of whom nothing known is read: they get what is popular</th><td>1</td>",
    ):
        assert row in page
    assert page.count("in all</p>") == 5
    assert "shopper" not in page
    assert "NDCG@10" in page


def test_the_same_night_through_ray_data_and_through_a_deployment_is_the_same(shop: Night) -> None:
    before = shas(shop, DAY)
    settings = "intent=inform num_facts=1 history_engine=ray"
    state = ended_deployment(
        shop, JOB, {"date": DAY, "settings": settings, "force": True}, flow="generate"
    )
    assert state["type"] == "COMPLETED", state["message"]
    assert shop.manifest(DAY, JOB)["settings"]["history_engine"] == "ray"
    assert shas(shop, DAY) == before


def test_events_of_later_days_change_no_byte_of_a_night(shop: Night) -> None:
    before = published(shop, DAY)
    put_events(shop, "later", events(days_later=2) + events(days_later=3))
    assert "nothing changed since" in shop.run("run", JOB, "--date", DAY, *LIKE_DESCRIPTIONS)
    both = events() + events(days_later=2)[:20] + events(days_later=4)
    pq.write_table(pa.Table.from_pylist(both, EVENTS), shop.folder / "events.parquet")
    shop.run("inputs", "put", "interactions", "events.parquet", "later.parquet", "--replace")
    shop.run("run", JOB, "--date", DAY, "--force", *LIKE_DESCRIPTIONS)
    counts = shop.manifest(DAY, JOB)["prepared"]["summary"]["counts"]
    assert counts["events after the date, left out"] == 20 + 208
    assert published(shop, DAY) == before


def test_the_next_night_stands_beside_the_one_before(shop: Night) -> None:
    shop.run("run", JOB, "--date", NEXT, *LIKE_DESCRIPTIONS)
    page = shop.storage.get(f"reports/{JOB}/dt={NEXT}/index.html").decode()
    assert "Last nights" in page
    assert "popularity lift" in page


def test_another_actor_takes_over_a_killed_preparation(shop: Night) -> None:
    before = shas(shop, NEXT)
    run = shop.start("run", JOB, "--date", NEXT, "--force", *LIKE_DESCRIPTIONS)
    wait_until(lambda: find_actor(shop, "PrepareActor"), "the actor", run).kill()
    output, _ = run.communicate(timeout=300)
    assert run.returncode == 0, output
    assert shas(shop, NEXT) == before


def test_a_killed_run_resumes_with_the_rows_it_had_prepared(shop: Night) -> None:
    slowly = (*LIKE_DESCRIPTIONS, *as_options("rows_per_shard=3 batch_rows=1"))
    shop.run("run", JOB, "--date", NEXT, *slowly)
    undisturbed = shas(shop, NEXT)
    forget(shop, NEXT)
    victim = shop.start("run", JOB, "--date", NEXT, *slowly)
    work = f"work/{JOB}/dt={NEXT}/"
    wait_until(
        lambda: sum("/part-" in item.key for item in shop.storage.list(work)) >= 2,
        "two parts",
        victim,
    )
    os.killpg(victim.pid, 9)
    victim.communicate()
    output = shop.run("run", JOB, "--date", NEXT, *slowly)
    assert "rows were prepared before" in output
    assert "shards are already written" in output
    assert shas(shop, NEXT) == undisturbed


def test_errors_of_a_night_say_what_to_do(shop: Night) -> None:
    output = shop.run(
        "run", JOB, "--date", "2026-12-31", *LIKE_DESCRIPTIONS, "--model-policy", "as-of", status=2
    )
    assert "no user of interactions has an event in the 30 days up to 2026-12-31" in output
    output = shop.run("run", JOB, "--date", DAY, "--set", "history_engine=spark", status=2)
    assert "history_engine" in output
    output = shop.run("train", JOB, status=2)
    assert "name the one to train: recommender, copywriter" in output
    output = shop.run(
        "run", JOB, "--date", DAY, "--model-policy", "2026-01-01-gpt-00000000", status=2
    )
    assert "has no version '2026-01-01-gpt-00000000'" in output


def test_a_dry_run_counts_the_rows_of_prepared_dates_only(shop: Night) -> None:
    output = shop.run(
        "backfill", JOB, "--start", "2026-11-20", "--end", DAY, "--dry-run", *LIKE_DESCRIPTIONS
    )
    assert "unknown yet" in output
    assert "123" in output
