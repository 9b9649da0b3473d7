"""A small catalogue in natural English, and a model trained on it once for all tests that need
it."""

import random
from pathlib import Path

import pytest
import torch

from aigc_models.text.language.acts import TextExample, TextRequest
from aigc_models.text.model import TextModel
from aigc_models.text.training import TrainingSettings, train_text_model

NAMES = ("Aurora", "Borealis", "Cumulus", "Drift", "Ember & Ash", "Fjord", "Gale", "Harbour")
MATERIALS = ("steel", "glass", "brushed aluminium", "ceramic")
TEMPLATES = (
    "The {name} kettle is made of {material} and holds {litres} l{end}.",
    "The {name} kettle holds {litres} l{end}. It is made of {material}.",
    "Meet the {name}: a kettle of {material} for {litres} l of water{end}.",
)
ENDINGS = {"true": " and switches off by itself", "false": " but has to be switched off by hand"}


def kettle(source: random.Random) -> TextExample:
    name = f"{source.choice(NAMES)} {source.randint(1, 99)}"
    litres = f"{source.randint(5, 30) / 10}"
    material = source.choice(MATERIALS)
    switches_off = source.choice(("true", "false"))
    text = source.choice(TEMPLATES).format(
        name=name, material=material, litres=litres, end=ENDINGS[switches_off]
    )
    facts = [("material", material), ("capacity_l", litres), ("switches_off", switches_off)]
    source.shuffle(facts)
    return TextExample(TextRequest("inform", (("name", name), *facts)), text)


@pytest.fixture(scope="session")
def kettles() -> list[TextExample]:
    source = random.Random(0)
    return [kettle(source) for _ in range(600)]


@pytest.fixture(scope="session")
def tiny_settings() -> TrainingSettings:
    return TrainingSettings(
        max_steps=300,
        cpu_budget_s=None,
        width=32,
        num_layers=3,
        num_heads=2,
        dropout=0.0,
        batch_tokens=1024,
        learning_rate=1e-2,
        warmup_steps=10,
        ema_decay=0.9,
        vocab_size=300,
        num_scored=20,
    )


@pytest.fixture(scope="session")
def kettle_folder(
    kettles: list[TextExample],
    tiny_settings: TrainingSettings,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    folder = tmp_path_factory.mktemp("kettles")
    train_text_model(kettles, folder / "model", settings=tiny_settings, work_dir=folder / "work")
    return folder / "model"


@pytest.fixture(scope="session")
def kettle_model(kettle_folder: Path) -> TextModel:
    return TextModel.load(kettle_folder)


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)
