import math
from itertools import pairwise

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from aigc_models.recommenders.data import (
    Items,
    as_sequences,
    hold_out,
    left_padded,
    split_keys,
    windows,
)
from aigc_models.recommenders.loss import item_loss
from aigc_models.recommenders.networks import (
    PAD,
    ItemGRU,
    build_item_network,
    item_network_options,
    next_states,
)
from aigc_models.recommenders.settings import FAMILIES

TINY = {"width": 16, "num_layers": 2, "dropout": 0.0}
HISTORIES = left_padded([[5, 6, 7], [8, 9, 10, 11]])


def network(family: str) -> nn.Module:
    torch.manual_seed(0)
    options = TINY if family == "gru" else TINY | {"num_heads": 2, "mlp_width": 24}
    return build_item_network(family, 20, options).eval()


@pytest.mark.parametrize("family", FAMILIES)
@torch.no_grad()
def test_a_network_can_be_built_again_from_its_options(family: str) -> None:
    first = network(family)
    again = build_item_network(family, 20, item_network_options(first))
    again.load_state_dict(first.state_dict())
    assert next_states(again.eval(), HISTORIES).equal(next_states(first, HISTORIES))


@pytest.mark.parametrize("family", FAMILIES)
@torch.no_grad()
def test_padding_changes_nothing(family: str) -> None:
    model = network(family)
    expected = next_states(model, HISTORIES[:1, 1:])
    torch.testing.assert_close(
        next_states(model, F.pad(HISTORIES[:1], (4, 0))), expected, atol=1e-5, rtol=1e-4
    )
    assert next_states(model, torch.full((1, 3), PAD)).isfinite().all()


@pytest.mark.parametrize("family", ["gpt", "gru"])
@torch.no_grad()
def test_later_items_change_no_earlier_state(family: str) -> None:
    model, changed = network(family), HISTORIES.clone()
    changed[:, -1] = 15
    torch.testing.assert_close(model(changed)[:, :-1], model(HISTORIES)[:, :-1])


@torch.no_grad()
def test_the_recurrent_network_is_that_of_torch() -> None:
    model = network("gru")
    assert isinstance(model, ItemGRU)
    peer = nn.GRU(16, 16, num_layers=2, batch_first=True)
    for layer, cell in enumerate(model.cells):
        for part, linear in (("ih", cell.of_input), ("hh", cell.of_state)):
            getattr(peer, f"weight_{part}_l{layer}").copy_(linear.weight)
            getattr(peer, f"bias_{part}_l{layer}").copy_(linear.bias)
    tokens = HISTORIES[1:]
    torch.testing.assert_close(model(tokens), model.norm(peer(model.embedding(tokens))[0]))


def test_the_full_softmax_is_the_cross_entropy_over_all_items() -> None:
    torch.manual_seed(0)
    states, table, targets = torch.randn(6, 8), torch.randn(22, 8), torch.randint(2, 22, (6,))
    by_hand = F.cross_entropy(states @ table[2:].T, targets - 2)
    assert float(item_loss(states, targets, table, 0)) == pytest.approx(float(by_hand), rel=0.02)


def test_the_sampled_softmax_is_near_the_full_one() -> None:
    torch.manual_seed(0)
    states, table = torch.randn(6, 8) / 2, torch.randn(5002, 8)
    targets = torch.randint(2, 5002, (6,))
    sampled = [float(item_loss(states, targets, table, 500)) for _ in range(50)]
    assert sum(sampled) / 50 == pytest.approx(float(item_loss(states, targets, table, 0)), rel=0.02)


def test_a_sample_that_has_the_target_does_not_count_it_twice() -> None:
    states, targets = torch.ones(1, 4), torch.tensor([2])
    table = torch.zeros(4, 4)  # two items
    assert float(item_loss(states, targets, table, 1)) in (0.0, pytest.approx(math.log(2)))


def test_the_last_item_of_the_histories_with_the_lowest_keys_is_held_out() -> None:
    sequences = as_sequences([[2, 3, 4, 5]] * 40 + [[6, 7]] * 10)
    keys = np.array([9] * 20 + [1, 2, 3] + [9] * 17 + [0] * 10, dtype=np.uint64)
    training, held_out = hold_out(sequences, keys, 3)
    assert [history.tolist() for history in held_out.histories] == [[2, 3, 4]] * 3
    assert held_out.answers_B.tolist() == [5, 5, 5]
    lengths = [len(training.of(user)) for user in range(50)]
    assert lengths == [4] * 20 + [3] * 3 + [4] * 17 + [2] * 10


def test_split_keys_do_not_change_while_histories_grow() -> None:
    histories = [[f"i{user}", f"i{user + 1}", "x"] for user in range(200)]
    grown = [[*history, "y", "z"] for history in histories]
    assert split_keys(histories).tolist() == split_keys(grown).tolist()
    assert len(set(split_keys(histories).tolist())) == 200


def test_long_histories_become_windows_that_share_only_their_ends() -> None:
    pieces = windows(as_sequences([list(range(2, 12)), [3], [4, 5]]), 4)
    assert [piece.tolist() for piece in pieces] == [
        [8, 9, 10, 11],
        [5, 6, 7, 8],
        [2, 3, 4, 5],
        [4, 5],
    ]
    pairs = [pair for piece in pieces[:3] for pair in pairwise(piece.tolist())]
    assert sorted(pairs) == [(i, i + 1) for i in range(2, 11)]


def test_unknown_items_are_skipped() -> None:
    assert Items(("a", "b")).tokens(["b", "?", "a"]) == [3, 2]
    assert left_padded([np.array([], dtype=np.int64)]).tolist() == [[PAD]]
