from dataclasses import replace

import pytest
import torch
from torch import Tensor

from aigc_models.noise import derive_seeds, uniforms
from aigc_models.text.decoding import Candidate, decode
from aigc_models.text.families import TextNetwork, build_network
from aigc_models.text.sampling import GREEDY, Sampling
from aigc_models.text.settings import FAMILIES

END = 2
PREFIX = torch.tensor([[3, 4, 5, 1], [0, 0, 6, 1], [0, 7, 8, 1]])
SEEDS = [11, -5, 2**60]
SAMPLING = Sampling(num_candidates=4, temperature=1.0, max_tokens=12)


@pytest.fixture(params=FAMILIES)
def network(request: pytest.FixtureRequest) -> TextNetwork:
    torch.manual_seed(1)
    network = build_network(request.param, {"vocab_size": 30, "width": 16}).eval()
    with torch.no_grad():
        network.embedding.own.mul_(8.0)
        network.coverage.project.weight.normal_()
    network.coverage.set_facts({5: 1, 9: 1, 6: 2, 8: 3, 10: 3}, [5, 9, 6])
    return network


def allowed(rows: int) -> Tensor:
    everything = torch.ones(rows, 30, dtype=torch.bool)
    everything[:, :2] = False
    return everything


@torch.no_grad()
def decode_naively(
    network: TextNetwork, prefix: Tensor, seed: int, number: int, sampling: Sampling
) -> Candidate:
    """One candidate, by whole passes over the text so far."""
    tokens: list[int] = []
    log_probability = 0.0
    seeds = derive_seeds(torch.tensor([seed]), number)
    for step in range(sampling.max_tokens):
        logits = network(prefix[None], torch.tensor([tokens], dtype=torch.int64))[0, -1]
        logits[:2] = float("-inf")
        cumulative = torch.softmax(logits / sampling.temperature, -1).double().cumsum(-1)
        drawn = int((cumulative <= uniforms(seeds, step) * cumulative[-1]).sum())
        token = int(logits.argmax()) if number == GREEDY else drawn
        log_probability += float(logits.log_softmax(-1)[token])
        if token == END:
            return Candidate(tuple(tokens), log_probability, True)
        tokens.append(token)
    return Candidate(tuple(tokens), log_probability, False)


def test_cached_decoding_equals_naive_decoding(network: TextNetwork) -> None:
    rows = decode(network, PREFIX, allowed(3), SEEDS, SAMPLING, END)
    for prefix, seed, row in zip(PREFIX, SEEDS, rows, strict=True):
        for number, candidate in zip(SAMPLING.candidates, row, strict=True):
            naive = decode_naively(network, prefix, seed, number, SAMPLING)
            assert candidate.tokens == naive.tokens
            assert candidate.is_finished == naive.is_finished
            assert candidate.log_probability == pytest.approx(naive.log_probability, abs=1e-4)


def test_a_row_is_the_same_alone_and_in_another_order(network: TextNetwork) -> None:
    rows = decode(network, PREFIX, allowed(3), SEEDS, SAMPLING, END)
    turned = decode(network, PREFIX.flip(0), allowed(3), SEEDS[::-1], SAMPLING, END)[::-1]
    alone = [
        decode(network, PREFIX[i : i + 1], allowed(1), SEEDS[i : i + 1], SAMPLING, END)[0]
        for i in range(3)
    ]
    tokens = [[candidate.tokens for candidate in row] for row in rows]
    assert [[candidate.tokens for candidate in row] for row in turned] == tokens
    assert [[candidate.tokens for candidate in row] for row in alone] == tokens


def test_equal_calls_give_equal_candidates_and_other_seeds_different_ones(
    network: TextNetwork,
) -> None:
    rows = decode(network, PREFIX, allowed(3), SEEDS, SAMPLING, END)
    assert decode(network, PREFIX, allowed(3), SEEDS, SAMPLING, END) == rows
    others = decode(network, PREFIX, allowed(3), [seed + 1 for seed in SEEDS], SAMPLING, END)
    assert [row[0].tokens for row in others] == [row[0].tokens for row in rows], (
        "greedy candidates draw nothing"
    )
    assert [row[1:] for row in others] != [row[1:] for row in rows]


def test_forbidden_tokens_are_never_drawn(network: TextNetwork) -> None:
    only = torch.zeros(3, 30, dtype=torch.bool)
    only[:, [9, 10]] = True
    rows = decode(network, PREFIX, only, SEEDS, SAMPLING, END)
    assert {token for row in rows for candidate in row for token in candidate.tokens} <= {9, 10}
    assert not any(candidate.is_finished for row in rows for candidate in row)


def test_rows_of_one_act_share_a_pass_and_differ_by_their_seeds(
    network: TextNetwork,
) -> None:
    prefix, seeds = PREFIX[[1, 0, 1, 1]], [3, 4, 5, 6]
    allowed_twice = allowed(4)
    allowed_twice[3, 9] = False  # so this row has a pass of its own
    num_started, start = [], network.start
    network.start = lambda prefix_AP: num_started.append(len(prefix_AP)) or start(prefix_AP)
    rows = decode(network, prefix, allowed_twice, seeds, SAMPLING, END)
    assert num_started == [3]
    for i, seed in enumerate(seeds):
        (alone,) = decode(
            network, prefix[i : i + 1], allowed_twice[i : i + 1], [seed], SAMPLING, END
        )
        assert [candidate.tokens for candidate in rows[i]] == [
            candidate.tokens for candidate in alone
        ]
    assert rows[0][0].tokens == rows[2][0].tokens, "greedy"
    assert [each.tokens for each in rows[0][1:]] != [each.tokens for each in rows[2][1:]]


def test_sampled_tokens_have_the_models_distribution(network: TextNetwork) -> None:
    sampling = replace(SAMPLING, num_candidates=4000, greedy=False, max_tokens=1)
    row = decode(network, PREFIX[:1], allowed(1), [7], sampling, END)[0]
    counts = torch.zeros(30)
    for candidate in row:
        counts[candidate.tokens[0] if candidate.tokens else END] += 1
    with torch.no_grad():
        logits = network(PREFIX[:1], torch.zeros(1, 0, dtype=torch.int64))[0, -1]
    logits[:2] = float("-inf")
    assert float((counts / 4000 - logits.softmax(-1)).abs().max()) < 0.03
