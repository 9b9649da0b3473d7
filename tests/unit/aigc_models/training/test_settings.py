import pytest

from aigc_models.training.settings import LoopSettings


@pytest.mark.parametrize(
    "wrong",
    [
        {"max_steps": None, "cpu_budget_s": None},
        {"learning_rate": 0.0},
        {"ema_decay": 1.0},
        {"num_threads": 0},
        {"num_workers": 0},
        {"samples_every": 0},
        {"warmup_steps": -1},
    ],
)
def test_invalid_settings_are_refused(wrong: dict[str, float | None]) -> None:
    with pytest.raises(ValueError, match=r"must (not )?be"):
        LoopSettings(**wrong)
