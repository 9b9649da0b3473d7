import json
from pathlib import Path

import pytest

from aigc_models.text.evaluation import evaluate_text_model
from aigc_models.text.language.acts import TextExample
from aigc_models.text.model import TextModel
from aigc_models.text.training import TrainingSettings


def test_a_model_gets_the_metrics_of_its_training_on_the_same_examples(
    kettle_folder: Path,
    kettle_model: TextModel,
    kettles: list[TextExample],
    tiny_settings: TrainingSettings,
) -> None:
    recorded = json.loads((kettle_folder / "metrics.json").read_text())
    for name, value in evaluate_text_model(kettle_model, kettles, tiny_settings).items():
        assert value == pytest.approx(recorded[name], abs=0.02), name
