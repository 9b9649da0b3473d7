import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from aigc_models.text.corpus import build_corpus
from aigc_models.text.language.acts import TextExample, TextRequest
from aigc_models.text.model import Sampling, TextModel
from aigc_models.text.training import (
    TrainingSettings,
    build_tokenizer,
    train_text_model,
    with_repeats,
)
from aigc_models.training.settings import TrainingProgress


def test_a_checkpoint_folder_is_complete(kettle_folder: Path) -> None:
    names = {path.name for path in kettle_folder.iterdir()}
    assert names == {
        "weights.safetensors",
        "config.json",
        "tokenizer.json",
        "metrics.json",
        "samples.json",
        "tensorboard",
    }
    metrics = json.loads((kettle_folder / "metrics.json").read_text(encoding="utf-8"))
    assert metrics["steps"] == 300
    assert metrics["num_examples"] == 600
    assert metrics["bleu"] > 0.5
    assert metrics["texts_with_error_share"] < 0.2
    samples = json.loads((kettle_folder / "samples.json").read_text(encoding="utf-8"))
    assert len(samples) == 20
    assert set(samples[0]) == {"intent", "attributes", "text", "problems", "reference"}


def test_a_recurrent_family_learns_too(
    kettles: list[TextExample], tiny_settings: TrainingSettings, tmp_path: Path
) -> None:
    settings = replace(tiny_settings, family="gru", width=64, num_layers=1, learning_rate=5e-3)
    metrics = train_text_model(
        kettles, tmp_path / "model", settings=settings, work_dir=tmp_path / "work"
    )
    assert metrics["bleu"] > 0.4
    assert metrics["texts_with_error_share"] < 0.5
    assert (
        TextModel.load(tmp_path / "model").generate([kettles[0].request], [1], Sampling())[0].text
    )


def test_a_resumed_training_gives_the_same_model(
    kettles: list[TextExample], tiny_settings: TrainingSettings, tmp_path: Path
) -> None:
    settings = replace(tiny_settings, max_steps=30, checkpoint_every_s=1e-9, dropout=0.1)

    def crash(progress: TrainingProgress) -> None:
        raise InterruptedError

    train_text_model(kettles, tmp_path / "a", settings=settings, work_dir=tmp_path / "work_a")
    with pytest.raises(InterruptedError):
        train_text_model(
            kettles,
            tmp_path / "b",
            settings=settings,
            work_dir=tmp_path / "work_b",
            on_progress=crash,
        )
    train_text_model(kettles, tmp_path / "b", settings=settings, work_dir=tmp_path / "work_b")
    for name in ("weights.safetensors", "config.json", "tokenizer.json", "samples.json"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes(), name


def test_unseen_combinations_of_seen_attributes_can_be_encoded(kettles: list[TextExample]) -> None:
    corpus = build_corpus(kettles, 0.05)
    tokenizer = build_tokenizer(corpus, TrainingSettings())
    pair = [("name", "A"), ("switches_off", "true")]
    act = corpus.schema.act(TextRequest("inform", tuple(pair)))
    assert tokenizer.pad_id not in tokenizer.prefix(act)


def test_texts_of_rare_intents_are_repeated_up_to_a_limit() -> None:
    examples = [
        TextExample(TextRequest("often", (("name", f"A{i}"),)), f"A{i} is here.")
        for i in range(400)
    ]
    examples += [
        TextExample(TextRequest("seldom", (("name", f"A{i}"),)), f"Is A{i} here?")
        for i in range(100)
    ]
    examples += [
        TextExample(TextRequest("hardly", (("name", f"A{i}"),)), f"No A{i} here.") for i in range(4)
    ]
    counts = Counter(
        text.request.intent for text in with_repeats(build_corpus(examples, 0.05).training, 3)
    )
    plain = Counter(text.request.intent for text in build_corpus(examples, 0.05).training)
    assert counts["often"] == plain["often"]
    assert counts["seldom"] == 2 * plain["seldom"]
    assert counts["hardly"] == 3 * plain["hardly"]
