"""Sampling with a cache: each row's candidates share one pass over the prefix, finished candidates leave the batch.

B rows, N candidates of all rows, C candidates a row, P prefix positions, V vocabulary, K blocks of W tokens.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from aigc_models.families import Generator
from aigc_models.noise import derive_seeds, uniforms
from aigc_models.sampling import GREEDY, Sampling

COMPACTION_SHARE = 0.85
"""The batch is made smaller when no more than this share of it is unfinished."""
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
    network: Generator, prefix_BP: Tensor, allowed_BV: Tensor, row_seeds: Sequence[int], sampling: Sampling, end_id: int
) -> list[list[Candidate]]:
    """Candidates of each row. Tokens are drawn by inverting the cumulative distribution at `uniforms(seed, step)`."""
    device = prefix_BP.device
    candidates = sampling.candidates
    rows_N = torch.arange(len(row_seeds), device=device).repeat_interleave(len(candidates))
    numbers_N = torch.tensor(candidates, device=device).repeat(len(row_seeds))
    seeds_N = derive_seeds(torch.tensor(row_seeds, dtype=torch.int64, device=device)[rows_N], numbers_N)
    tokens_NT = torch.full((len(rows_N), sampling.max_tokens), end_id, device=device)
    log_probability_N = torch.zeros(len(rows_N), dtype=torch.float64, device=device)
    finished_N = torch.zeros(len(rows_N), dtype=torch.bool, device=device)
    logits_BV, state = network.start(prefix_BP)
    logits, state = logits_BV[rows_N], state.select(rows_N)
    restricted, forbidden_BR = restrictions(allowed_BV)
    active, forbidden_NR = torch.arange(len(rows_N), device=device), forbidden_BR[rows_N]
    for step in range(sampling.max_tokens):
        logits = logits.float()
        logits[:, restricted].masked_fill_(forbidden_NR, float("-inf"))
        chosen, chosen_log_probability = choose(
            logits, seeds_N[active], numbers_N[active] == GREEDY, step, sampling.temperature
        )
        # A finished candidate that is still in the batch writes ends after its end, which changes nothing.
        is_over = finished_N[active]
        chosen = torch.where(is_over, end_id, chosen)
        log_probability_N[active] += torch.where(is_over, 0.0, chosen_log_probability)
        tokens_NT[active, step] = chosen
        finished_N[active] |= chosen == end_id
        going_on = ~finished_N[active]
        num_active = int(going_on.sum())
        if num_active == 0 or step + 1 == sampling.max_tokens:
            break
        if num_active <= COMPACTION_SHARE * len(active):
            kept = going_on.nonzero()[:, 0]
            active, chosen, state, forbidden_NR = active[kept], chosen[kept], state.select(kept), forbidden_NR[kept]
        logits, state = network.step(chosen, state)
    return collect(tokens_NT, log_probability_N, finished_N, end_id, len(candidates))


def restrictions(allowed_BV: Tensor) -> tuple[slice, Tensor]:
    """The stretch of the vocabulary that holds all that is forbidden to some row, and what of it is: [B, R]."""
    places = (~allowed_BV).any(0).nonzero()[:, 0]
    stretch = slice(int(places[0]), int(places[-1]) + 1) if len(places) else slice(0, 0)
    return stretch, ~allowed_BV[:, stretch]


def choose(
    logits_NV: Tensor, seeds_N: Tensor, greedy_N: Tensor, step: int, temperature: float
) -> tuple[Tensor, Tensor]:
    """A token for each sequence, and its log-probability at temperature 1 in float64. Overwrites the logits.

    Tokens are drawn by inverting the cumulative distribution in two steps, among blocks of tokens and within one:
    sums over the whole vocabulary are needed once, in float32, and cumulative ones of a few numbers, in float64.
    """
    num_tokens = logits_NV.shape[1]
    logits_NV -= logits_NV.amax(-1, keepdim=True)
    log_total_N = torch.exp(logits_NV).sum(-1).log()
    num_blocks = -(-num_tokens // BLOCK)
    weights_NV = logits_NV.new_empty(len(logits_NV), num_blocks * BLOCK)
    weights_NV[:, num_tokens:] = 0.0
    torch.mul(logits_NV, 1 / temperature, out=weights_NV[:, :num_tokens]).exp_()
    weights_NKW = weights_NV.unflatten(1, (num_blocks, BLOCK))
    cumulative_NK = weights_NKW.sum(-1).double().cumsum(-1)
    target_N1 = uniforms(seeds_N, step).clamp(max=1 - 2.0**-40)[:, None] * cumulative_NK[:, -1:]
    block_N1 = torch.searchsorted(cumulative_NK, target_N1, right=True)
    before_N1 = torch.where(block_N1 > 0, cumulative_NK.gather(1, (block_N1 - 1).clamp(min=0)), 0.0)
    counted_N = torch.arange(len(logits_NV), device=logits_NV.device)
    cumulative_NW = weights_NKW[counted_N, block_N1[:, 0]].double().cumsum(-1)
    # Rounded sums of blocks may reach a little beyond the sums within: the token found must have a weight.
    rest_N1 = torch.minimum(target_N1 - before_N1, cumulative_NW[:, -1:] * (1 - 2.0**-40)).clamp(min=0.0)
    chosen_N = (block_N1 * BLOCK + torch.searchsorted(cumulative_NW, rest_N1, right=True))[:, 0]
    greedy = greedy_N.nonzero()[:, 0]
    chosen_N[greedy] = logits_NV[greedy].argmax(-1)
    return chosen_N, (logits_NV[counted_N, chosen_N] - log_total_N).double()


def collect(
    tokens_NT: Tensor, log_probability_N: Tensor, finished_N: Tensor, end_id: int, num_candidates: int
) -> list[list[Candidate]]:
    candidates = []
    for tokens, log_probability, is_finished in zip(
        tokens_NT.tolist(), log_probability_N.tolist(), finished_N.tolist(), strict=True
    ):
        text = tokens[: tokens.index(end_id)] if is_finished else tokens
        candidates.append(Candidate(tuple(text), log_probability, is_finished))
    return [candidates[i : i + num_candidates] for i in range(0, len(candidates), num_candidates)]
