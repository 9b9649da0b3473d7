import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, multiprocessing

from aigc_models.checkpoint import read_tensors
from aigc_models.images.settings import default_image_settings
from aigc_models.text.training import Batch
from aigc_models.training.data_parallel import (
    all_reduce_sum,
    broadcast_file,
    is_first,
    mean_over_ranks,
    take_share,
    world_size,
)
from tests.unit.aigc_models.data_parallel_cases import CASES, STEPS, run_rank, trained

NUM_RANKS = 2
TOLERANCES = {"line": 1e-12, "one row": 1e-12, "recommender gpt": 1e-2, "recommender gru": 1e-2}
"""Of gradients, as a share of the largest one: for float64, and for products in bfloat16."""
FLOAT32 = 2e-5
"""For all other cases, which compute in float32."""
pytestmark = pytest.mark.timeout(180)


@pytest.fixture(scope="module")
def ranks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Trains with two ranks; each case and rank leaves its results in a folder."""
    folder = tmp_path_factory.mktemp("ranks")
    multiprocessing.spawn(run_rank, (NUM_RANKS, folder), nprocs=NUM_RANKS)
    return folder


def left(folder: Path, name: str) -> list[dict[str, Any]]:
    return [
        json.loads((folder / f"{name} {rank}" / "left.json").read_text())
        for rank in range(NUM_RANKS)
    ]


def tensors(folder: Path) -> dict[str, Tensor]:
    return read_tensors(folder / "left.safetensors")[0]


@pytest.mark.parametrize("name", CASES)
def test_two_ranks_train_as_one_process_does_with_the_same_batches(
    name: str, ranks: Path, tmp_path: Path
) -> None:
    trained(name, tmp_path)
    alone = tensors(tmp_path)
    together = [tensors(ranks / f"{name} {rank}") for rank in range(NUM_RANKS)]
    assert all(together[0][key].equal(together[1][key]) for key in alone)
    found = {key: together[0][key] for key in alone if key.startswith("gradient.")}
    largest = max(float(alone[key].abs().max()) for key in found)
    differences = {key: float((alone[key] - found[key]).abs().max()) / largest for key in found}
    assert max(differences.values()) < TOLERANCES.get(name, FLOAT32), differences
    of_one = json.loads((tmp_path / "left.json").read_text())
    of_first, of_second = left(ranks, name)
    curve_tolerance = 10 * TOLERANCES.get(name, FLOAT32)
    assert of_first["losses"] == pytest.approx(of_one["losses"], rel=curve_tolerance)
    assert of_first["val_loss"] == of_second["val_loss"]
    assert of_first["val_loss"] == pytest.approx(of_one["val_loss"], rel=curve_tolerance)
    assert of_first["steps"] == of_second["steps"] == STEPS


def test_a_rank_without_rows_adds_nothing(ranks: Path) -> None:
    assert left(ranks, "surplus") == [{"loss": 1.0, "num_rows": 1}] * NUM_RANKS


def test_all_ranks_stop_at_the_same_step(ranks: Path) -> None:
    first, second = left(ranks, "decisions")
    assert first["steps"] == second["steps"]
    assert first["cpu_seconds"] == second["cpu_seconds"]
    assert first["cpu_seconds"][0] >= 0.4


def test_the_cpu_time_of_all_ranks_counts(ranks: Path) -> None:
    first, _ = left(ranks, "decisions")
    assert first["cpu_seconds"][1] >= first["steps"][1] * (0.002 + 0.01)


def test_only_the_first_rank_validates_and_saves(ranks: Path) -> None:
    first, second = left(ranks, "decisions")
    assert first["validated"] > 0
    assert first["saved"] == 2
    assert second["validated"] == second["saved"] == 0
    assert not list((ranks / "line 1").rglob("training.safetensors"))
    assert left(ranks, "line")[1]["losses"] == []


def test_all_ranks_resume_from_the_state_of_the_first_one(ranks: Path) -> None:
    for of_rank in left(ranks, "decisions"):
        assert of_rank["asked_again"] == of_rank["steps"][1] - of_rank["steps"][0] > 0


def test_every_rank_draws_different_noise(ranks: Path) -> None:
    first, second = left(ranks, "decisions")
    assert len({*first["drawn"], *second["drawn"]}) == 4


def test_a_flow_of_two_stages_is_trained_by_two_ranks_and_finished_by_the_first(
    ranks: Path,
) -> None:
    first, second = left(ranks, "whole flow")
    assert first["steps"] == 30
    assert second == {}
    assert (ranks / "whole flow 0" / "flow" / "weights.safetensors").is_file()
    assert not (ranks / "whole flow 1" / "flow").exists()


def test_a_single_process_communicates_with_nobody_and_has_every_row(tmp_path: Path) -> None:
    batch = Batch(*(torch.arange(6).reshape(3, 2) + part for part in range(len(Batch.__slots__))))
    assert world_size() == 1
    assert is_first()
    assert all_reduce_sum(1.5, 2.0) == [1.5, 2.0]
    share = take_share(batch)
    assert not share.is_filler
    for name in Batch.__slots__:
        assert torch.equal(getattr(share.rows, name), getattr(batch, name))
    means = [torch.tensor(1.0, requires_grad=True)]
    assert mean_over_ranks(means, 3) is means
    broadcast_file(tmp_path / "absent")
    assert not (tmp_path / "absent").exists()


def test_a_gan_of_several_workers_is_refused_with_a_way_out() -> None:
    with pytest.raises(
        ValueError,
        match=r"one worker, not 2: .* Leave num_workers at 1, or take the family flow or vae",
    ):
        default_image_settings("gan", num_workers=2)
    assert default_image_settings("vae", num_workers=2).num_workers == 2
