"""A recommender trained from the deployment on the real stack, on the events up to its date."""

import pyarrow.parquet as pq
import pytest

from tests.integration.night import Night, start_deployment, state_of, wait_until
from workers.registry import list_versions, read_champion
from workers.samples import write_samples

pytestmark = pytest.mark.timeout(600)


def test_the_deployment_trains_a_recommender_and_makes_it_champion(night: Night) -> None:
    numbers = {"num_products": 40, "num_examples": 0, "num_requests": 0, "num_images": 0}
    file = write_samples(night.folder / "shop", num_interactions=3000, seed=0, **numbers)["interactions"]
    night.run("inputs", "put", "interactions", str(file))
    date = str(pq.read_table(file)["event_time"].to_pylist()[1500].date())
    settings = "max_steps=40 width=16 batch_tokens=128 num_scored=20"
    parameters = {"model": "recommender", "date": date, "family": "gru,gpt", "settings": settings}
    run_id = start_deployment(night, "train", parameters)
    state = wait_until(lambda: (found := state_of(night, run_id))["type"] in {"COMPLETED", "FAILED"} and found, "it")
    assert state["type"] == "COMPLETED", state["message"]
    versions = list_versions(night.storage, "recommender")
    assert {version.family for version in versions} == {"gru", "gpt"}
    assert all(version.through == date and 0 < version.metrics["num_events"] < 3000 for version in versions)
    found = read_champion(night.storage, "recommender")
    assert found
    assert found[0].version in {version.version for version in versions}
    assert "NDCG@10" in night.run("models")
