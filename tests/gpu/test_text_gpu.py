"""The text models on a CUDA device: the same code, bfloat16 training, faithful texts."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from aigc_models.text.corpus import build_corpus
from aigc_models.text.model import Sampling, TextModel, TextRequest
from aigc_models.text.networks.row_attention import mixed, scores
from aigc_models.text.training import (
    TrainingSettings,
    build_text_network,
    build_tokenizer,
    text_task,
    train_text_model,
)
from aigc_models.training.step import build_step
from tests.unit.workers.kettle_texts import examples

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]


@pytest.mark.parametrize("family", ["gpt", "lstm", "gru", "rnn"])
def test_a_model_trained_on_the_gpu_writes_faithful_texts_there(
    family: str, tmp_path: Path
) -> None:
    settings = TrainingSettings(
        family=family,
        width=48,
        num_layers=2,
        num_heads=2,
        max_steps=400,
        cpu_budget_s=None,
        device="cuda",
    )
    train_text_model(
        examples(300), tmp_path / "model", settings=settings, work_dir=tmp_path / "work"
    )
    model = TextModel.load(tmp_path / "model", device="cuda")
    requests: list[TextRequest] = [example.request for example in examples(40)]
    texts = model.generate(requests, range(40), Sampling())
    assert sum(not text.problems for text in texts) >= 36
    assert texts == model.generate(requests, range(40), Sampling())


def test_a_compiled_training_learns_there(tmp_path: Path) -> None:
    settings = TrainingSettings(
        width=48,
        num_layers=2,
        num_heads=2,
        max_steps=100,
        cpu_budget_s=None,
        num_scored=2,
        device="cuda",
    )
    losses = [
        train_text_model(
            examples(300), tmp_path / name, settings=chosen, work_dir=tmp_path / f"{name} work"
        )["val_loss"]
        for name, chosen in (
            ("as it is", settings),
            ("compiled", replace(settings, torch_compile=True)),
        )
    ]
    assert losses[1] == pytest.approx(losses[0], abs=0.1)


def test_a_step_of_training_waits_for_nothing() -> None:
    settings = TrainingSettings(width=48, num_layers=2, num_heads=2, max_steps=10)
    corpus, device = build_corpus(examples(300), 0.1), torch.device("cuda")
    tokenizer = build_tokenizer(corpus, settings)
    network = build_text_network(corpus, tokenizer, settings).to(device)
    task = text_task(corpus, tokenizer, settings, device)
    step = build_step(network, task, settings)
    step(task.batch_at(0))
    torch.cuda.set_sync_debug_mode("error")
    try:
        losses, _ = step(task.batch_at(1))
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert losses["train"].isfinite()


def test_attention_to_rows_gives_there_what_it_gives_on_the_cpu() -> None:
    torch.manual_seed(0)
    query, table = torch.randn(50, 4, 24), torch.randn(300, 24)
    places = torch.randint(300, (50, 4, 20))
    found = scores(query, table, places)
    on_gpu = scores(query.cuda(), table.cuda(), places.cuda())
    torch.testing.assert_close(on_gpu.cpu(), found, atol=1e-4, rtol=1e-4)
    sums = mixed(torch.softmax(on_gpu, -1), table.cuda(), places.cuda())
    torch.testing.assert_close(
        sums.cpu(), mixed(torch.softmax(found, -1), table, places), atol=1e-4, rtol=1e-4
    )
