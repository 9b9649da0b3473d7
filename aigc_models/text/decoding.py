"""Sampling with a cache: all candidates of a prefix share one pass over it, finished candidates
leave the batch.

B rows, A different prefixes, N candidates of all rows, M branches, C candidates a row, P prefix
positions, V vocabulary, K blocks of W tokens.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from aigc_models.noise import derive_seeds, uniforms
from aigc_models.text.families import Generator
from aigc_models.text.sampling import GREEDY, Sampling

BLOCK = 32
"""Tokens that are summed up before one of them is drawn."""


@dataclass(frozen=True, slots=True)
class Candidate:
    tokens: tuple[int, ...]
    """Without the end."""
    log_probability: float
    """Natural logarithm, under the model at temperature 1, the end included."""
    is_finished: bool
    """False where max_tokens came before the end."""

    @property
    def mean_log_probability(self) -> float:
        return self.log_probability / (len(self.tokens) + self.is_finished)


@torch.inference_mode()
def decode(
    network: Generator,
    prefix_BP: Tensor,
    allowed_BV: Tensor,
    row_seeds: Sequence[int],
    sampling: Sampling,
    end_id: int,
) -> list[list[Candidate]]:
    """Candidates of each row. Tokens are drawn by inverting the cumulative distribution at
    `uniforms(seed, step)`."""
    device = prefix_BP.device
    candidates = sampling.candidates
    prefix_AP, allowed_AV, prefix_of_B = distinct(prefix_BP, allowed_BV)
    rows_N = torch.arange(len(row_seeds), device=device).repeat_interleave(len(candidates))
    numbers_N = torch.tensor(candidates, device=device).repeat(len(row_seeds))
    seeds_N = derive_seeds(
        torch.tensor(row_seeds, dtype=torch.int64, device=device)[rows_N], numbers_N
    )
    tokens_NT = torch.full((len(rows_N), sampling.max_tokens), end_id, device=device)
    log_probability_N = torch.zeros(len(rows_N), dtype=torch.float64, device=device)
    logits_MV, state = network.start(prefix_AP)
    restricted, forbidden_MR = restrictions(allowed_AV)
    active, branch_N = torch.arange(len(rows_N), device=device), prefix_of_B[rows_N]
    for step in range(sampling.max_tokens):
        logits_MV = logits_MV.float()
        logits_MV[:, restricted].masked_fill_(forbidden_MR, float("-inf"))
        chosen_N, chosen_log_probability_N = choose(
            logits_MV,
            branch_N,
            seeds_N[active],
            numbers_N[active] == GREEDY,
            step,
            sampling.temperature,
        )
        log_probability_N[active] += chosen_log_probability_N
        tokens_NT[active, step] = chosen_N
        going_on = (chosen_N != end_id).nonzero()[:, 0]
        if len(going_on) == 0 or step + 1 == sampling.max_tokens:
            break
        active = active[going_on]
        # Candidates of a prefix that have said the same are one branch.
        num_tokens = logits_MV.shape[1]
        text_M, branch_N = (branch_N[going_on] * num_tokens + chosen_N[going_on]).unique(
            return_inverse=True
        )
        branches = text_M // num_tokens
        forbidden_MR = forbidden_MR[branches]
        logits_MV, state = network.step(text_M % num_tokens, state.select(branches))
    return collect(tokens_NT, log_probability_N, end_id, len(candidates))


def distinct(prefix_BP: Tensor, allowed_BV: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Each prefix with what may follow it once, and which of them each row has: rows of the same
    facts are common where values have become slots."""
    both_AQ, prefix_of_B = torch.cat([prefix_BP, allowed_BV], dim=1).unique(
        dim=0, return_inverse=True
    )
    width = prefix_BP.shape[1]
    return both_AQ[:, :width], both_AQ[:, width:].bool(), prefix_of_B


def restrictions(allowed_BV: Tensor) -> tuple[slice, Tensor]:
    """The stretch of the vocabulary that holds all that is forbidden to some row, and what of it
    is: [B, R]."""
    places = (~allowed_BV).any(0).nonzero()[:, 0]
    stretch = slice(int(places[0]), int(places[-1]) + 1) if len(places) else slice(0, 0)
    return stretch, ~allowed_BV[:, stretch]


def choose(
    logits_MV: Tensor,
    branch_N: Tensor,
    seeds_N: Tensor,
    greedy_N: Tensor,
    step: int,
    temperature: float,
) -> tuple[Tensor, Tensor]:
    """A token for each candidate, and its log-probability at temperature 1 in float64. Overwrites
    the logits.

    Tokens are drawn by inverting the cumulative distribution in two steps, among blocks of tokens
    and within one: sums over the whole vocabulary are needed once, in float32, and cumulative ones
    of a few numbers, in float64.
    """
    num_tokens = logits_MV.shape[1]
    num_blocks = -(-num_tokens // BLOCK)
    logits_MV -= logits_MV.amax(-1, keepdim=True)
    weights_MW = logits_MV.new_empty(len(logits_MV), num_blocks * BLOCK)
    weights_MW[:, num_tokens:] = 0.0
    log_total_M = torch.exp(logits_MV, out=weights_MW[:, :num_tokens]).sum(-1).log()
    torch.mul(logits_MV, 1 / temperature, out=weights_MW[:, :num_tokens]).exp_()
    weights_MKW = weights_MW.unflatten(1, (num_blocks, BLOCK))
    cumulative_NK = weights_MKW.sum(-1).double().cumsum(-1)[branch_N]
    target_N1 = uniforms(seeds_N, step).clamp(max=1 - 2.0**-40)[:, None] * cumulative_NK[:, -1:]
    block_N1 = torch.searchsorted(cumulative_NK, target_N1, right=True)
    before_N1 = torch.where(block_N1 > 0, cumulative_NK.gather(1, (block_N1 - 1).clamp(min=0)), 0.0)
    cumulative_NW = weights_MKW[branch_N, block_N1[:, 0]].double().cumsum(-1)
    # Rounded sums of blocks may reach a little beyond the sums within: the token found must have a weight.
    rest_N1 = torch.minimum(target_N1 - before_N1, cumulative_NW[:, -1:] * (1 - 2.0**-40)).clamp(
        min=0.0
    )
    chosen_N = (block_N1 * BLOCK + torch.searchsorted(cumulative_NW, rest_N1, right=True))[:, 0]
    greedy = greedy_N.nonzero()[:, 0]
    chosen_N[greedy] = logits_MV[branch_N[greedy]].argmax(-1)
    return chosen_N, (logits_MV[branch_N, chosen_N] - log_total_M[branch_N]).double()


def collect(
    tokens_NT: Tensor, log_probability_N: Tensor, end_id: int, num_candidates: int
) -> list[list[Candidate]]:
    candidates = []
    for tokens, log_probability in zip(tokens_NT.tolist(), log_probability_N.tolist(), strict=True):
        # After an end there is nothing but ends.
        is_finished = tokens[-1] == end_id
        text = tokens[: tokens.index(end_id)] if is_finished else tokens
        candidates.append(Candidate(tuple(text), log_probability, is_finished))
    return [candidates[i : i + num_candidates] for i in range(0, len(candidates), num_candidates)]
