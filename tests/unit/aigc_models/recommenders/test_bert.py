from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from aigc_models.recommenders.bert import BERT, BERTConfig, choose_masked
from aigc_models.recommenders.loss import item_loss
from aigc_models.recommenders.networks import MASK

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


def test_each_row_has_a_masked_position_and_padding_is_never_masked() -> None:
    torch.manual_seed(0)
    tokens = F.pad(torch.randint(2, 40, (50, 10)), (5, 0))
    assert choose_masked(tokens, 0.01, 0).any(dim=1).all()
    chosen = choose_masked(tokens.repeat(100, 1), 0.2, 0)
    assert not chosen[:, :5].any()
    assert 0.18 < float(chosen[:, 5:].double().mean()) < 0.22
    assert not choose_masked(torch.zeros(2, 4, dtype=torch.int64), 0.5, 0).any()


def test_it_can_learn_one_batch_by_heart() -> None:
    torch.manual_seed(0)
    network = BERT(replace(CONFIG, width=32, mlp_width=48))
    is_masked = choose_masked(TOKENS, 0.4, pad_id=0)
    optimiser = torch.optim.AdamW(network.parameters(), lr=1e-2)
    for _ in range(100):
        states = network(TOKENS.masked_fill(is_masked, MASK))
        table = network.embedding.weight
        loss = item_loss(states[is_masked], TOKENS[is_masked], table, num_negatives=0)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert float(loss.detach()) < 0.05


def test_padding_must_be_in_the_vocabulary() -> None:
    with pytest.raises(ValueError, match="pad_id"):
        BERTConfig(vocab_size=5, pad_id=5)
