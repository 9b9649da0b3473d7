"""The text models on a CUDA device: bfloat16 training and faithful texts."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from aigc_models.text.corpus import build_corpus
from aigc_models.text.model import Sampling, TextModel, TextRequest
from aigc_models.text.networks.row_attention import attention_scores, weighted_values
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
    losses = {}
    for torch_compile in (False, True):
        metrics = train_text_model(
            examples(300),
            tmp_path / f"model-{torch_compile}",
            settings=replace(settings, torch_compile=torch_compile),
            work_dir=tmp_path / f"work-{torch_compile}",
        )
        losses[torch_compile] = metrics["val_loss"]
    assert losses[True] == pytest.approx(losses[False], abs=0.1)


def test_a_training_step_never_waits_for_the_gpu() -> None:
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


def test_attention_to_rows_gives_the_same_on_gpu_and_cpu() -> None:
    torch.manual_seed(0)
    query, table = torch.randn(50, 4, 24), torch.randn(300, 24)
    rows = torch.randint(300, (50, 4, 20))
    found = attention_scores(query, table, rows)
    on_gpu = attention_scores(query.cuda(), table.cuda(), rows.cuda())
    torch.testing.assert_close(on_gpu.cpu(), found, atol=1e-4, rtol=1e-4)
    expected = weighted_values(torch.softmax(found, -1), table, rows)
    sums = weighted_values(torch.softmax(on_gpu, -1), table.cuda(), rows.cuda())
    torch.testing.assert_close(sums.cpu(), expected, atol=1e-4, rtol=1e-4)
