"""The recommenders on a CUDA device: they learn and recommend there."""

from pathlib import Path

import pytest
import torch

from aigc_models.recommenders.model import Recommender
from aigc_models.recommenders.settings import FAMILIES
from aigc_models.recommenders.training import default_recommender_settings, train_recommender
from tests.unit.aigc_models.recommenders.test_model import HISTORIES, TINY

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]


@pytest.mark.parametrize("family", FAMILIES)
def test_a_model_trained_on_the_gpu_recommends_there_what_comes_next(
    family: str, tmp_path: Path
) -> None:
    settings = default_recommender_settings(
        family, **TINY, learning_rate=1e-2, dropout=0.0, device="cuda"
    )
    metrics = train_recommender(
        HISTORIES, tmp_path / "model", settings=settings, work_dir=tmp_path / "work"
    )
    assert metrics["network_hr_10"] == metrics["knn_hr_10"] == 1.0
    model = Recommender.load(tmp_path / "model", device="cuda")
    for model.knn_share in (0.0, 0.5, 1.0):
        (found,) = model.recommend([["book-1", "book-2"]], 3)
        assert (found[0].item, found[0].because) == ("book-3", "book-2")
        assert found == model.recommend([["book-1", "book-2"]], 3)[0]
