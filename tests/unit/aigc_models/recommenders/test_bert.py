from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from aigc_models.recommenders.bert import BERT, BERTConfig, choose, corrupt, masked_loss
from aigc_models.text.language.acts import TextExample
from aigc_models.training.loop import Task, TrainingLoop
from aigc_models.training.settings import LoopSettings

CONFIG = BERTConfig(vocab_size=40, width=16, num_layers=2, num_heads=2, mlp_width=24, dropout=0.0)
TOKENS = torch.tensor([[0, 0, 5, 6, 7, 8], [9, 10, 11, 12, 13, 14]])


@pytest.fixture
def network() -> BERT:
    torch.manual_seed(0)
    return BERT(CONFIG).eval()


@torch.no_grad()
def test_every_position_sees_both_sides(network: BERT) -> None:
    changed = TOKENS.clone()
    changed[1, 5] = 20
    assert not torch.allclose(network(changed)[1, 0], network(TOKENS)[1, 0])
    changed[1, 5], changed[1, 0] = 14, 20
    assert not torch.allclose(network(changed)[1, 5], network(TOKENS)[1, 5])


@torch.no_grad()
def test_padding_on_either_side_changes_no_state(network: BERT) -> None:
    tokens = TOKENS[:1, 2:]
    states = network(tokens)
    torch.testing.assert_close(network(F.pad(tokens, (3, 0)))[:, 3:], states, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(network(F.pad(tokens, (0, 3)))[:, :4], states, atol=1e-5, rtol=1e-4)


@torch.no_grad()
def test_the_loss_is_the_cross_entropy_of_the_chosen_positions(network: BERT) -> None:
    torch.manual_seed(1)
    loss, count = masked_loss(network, TOKENS, 0.4)
    torch.manual_seed(1)
    chosen = choose(TOKENS, 0.4, 0)
    logits = network.logits(network(corrupt(TOKENS, chosen, CONFIG)))
    by_hand = [
        -logits[row, place].log_softmax(0)[TOKENS[row, place]]
        for row, place in chosen.nonzero().tolist()
    ]
    assert count == len(by_hand)
    assert float(loss) == pytest.approx(float(sum(by_hand)) / count, rel=1e-5)


def test_each_row_has_a_chosen_position_and_no_padding_is_chosen() -> None:
    torch.manual_seed(0)
    tokens = F.pad(torch.randint(2, 40, (50, 10)), (5, 0))
    assert choose(tokens, 0.01, 0).any(dim=1).all()
    chosen = choose(tokens.repeat(100, 1), 0.2, 0)
    assert not chosen[:, :5].any()
    assert 0.18 < float(chosen[:, 5:].double().mean()) < 0.22
    assert not choose(torch.zeros(2, 4, dtype=torch.int64), 0.5, 0).any()


def test_chosen_tokens_are_masked_replaced_or_left_as_the_paper_says() -> None:
    torch.manual_seed(0)
    tokens = torch.full((200, 100), 7)
    chosen = torch.rand(200, 100) < 0.5
    corrupted = corrupt(tokens, chosen, CONFIG)
    assert (corrupted[~chosen] == 7).all()
    shares = [float((corrupted[chosen] == token).double().mean()) for token in (CONFIG.mask_id, 7)]
    assert shares == pytest.approx([0.8, 0.1 + 0.1 / 38], abs=0.01)
    assert int(corrupted.min()) >= CONFIG.mask_id


def test_it_can_learn_one_batch_by_heart() -> None:
    torch.manual_seed(0)
    network = BERT(
        BERTConfig(vocab_size=40, width=32, num_layers=2, num_heads=2, mlp_width=48, dropout=0.0)
    )
    optimiser = torch.optim.AdamW(network.parameters(), lr=1e-2)
    for _ in range(100):
        torch.manual_seed(1)  # the same positions are masked every time
        loss, _ = masked_loss(network, TOKENS, 0.4)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert float(loss.detach()) < 0.05


def test_the_shared_loop_teaches_it_to_fill_in_words_of_texts(
    kettles: list[TextExample], tmp_path: Path
) -> None:
    words = [example.reference.split() for example in kettles]
    known = sorted({word for text in words for word in text})
    token_of = {word: 2 + place for place, word in enumerate(known)}
    rows = [torch.tensor([token_of[word] for word in text]) for text in words]
    tokens = nn.utils.rnn.pad_sequence(rows, batch_first=True)
    torch.manual_seed(0)
    network = BERT(
        BERTConfig(
            vocab_size=2 + len(known),
            width=32,
            num_layers=2,
            num_heads=2,
            mlp_width=64,
            dropout=0.0,
        )
    )

    def validate(trained: nn.Module) -> float:
        assert isinstance(trained, BERT)
        torch.manual_seed(0)
        return float(masked_loss(trained, tokens[-50:], 0.15)[0].detach())

    def loss(trained: nn.Module, batch: torch.Tensor) -> tuple[torch.Tensor, int]:
        assert isinstance(trained, BERT)
        return masked_loss(trained, batch, 0.15)

    task = Task(batch_at=lambda step: tokens[:550][step % 11 :: 11], loss=loss, validate=validate)
    settings = LoopSettings(
        max_steps=300, cpu_budget_s=None, learning_rate=1e-2, ema_decay=0.9, warmup_steps=10
    )
    before = validate(network)
    assert TrainingLoop(network, task, settings, tmp_path).run().val_loss < 0.7 * before
    text = ["The", "Drift", "7", "kettle", "is", "made", "of", "glass", "and", "holds", "1.5", "l"]
    asked = torch.tensor([[token_of.get(word, CONFIG.mask_id) for word in text]])
    asked[0, 4] = CONFIG.mask_id
    assert known[int(network.eval().logits(network(asked))[0, 4, 2:].argmax())] == "is"


def test_a_vocabulary_must_hold_the_special_tokens() -> None:
    with pytest.raises(ValueError, match="pad_id and mask_id"):
        BERTConfig(vocab_size=1)
    with pytest.raises(ValueError, match="differ"):
        BERTConfig(vocab_size=5, mask_id=0)
