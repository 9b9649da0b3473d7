"""Sampling with a cache: equal prefixes are read once, equal texts share a branch, and finished
candidates leave the batch.

B rows, A different prefixes, C candidates of a row, N candidates (all, or those still unfinished),
M branches, T text, P prefix positions, V vocabulary, R restricted stretch of it, K blocks of W
tokens.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from aigc_models.noise import derive_seeds, uniforms
from aigc_models.rounding import ceil_div
from aigc_models.text.families import AutoregressiveNetwork
from aigc_models.text.sampling import GREEDY, Sampling

BLOCK = 32
"""Tokens of a block: a block is drawn first, then a token in it."""
BELOW_ONE = 1 - 2.0**-40
"""Keeps a target below the sum that it is searched in."""


@dataclass(frozen=True, slots=True)
class Candidate:
    tokens: tuple[int, ...]
    """Without the end."""
    log_probability: float
    """Natural logarithm, under the model at temperature 1, the end included."""
    is_finished: bool
    """False if `max_tokens` came before the end."""

    @property
    def mean_log_probability(self) -> float:
        return self.log_probability / (len(self.tokens) + self.is_finished)


@torch.inference_mode()
def decode(
    network: AutoregressiveNetwork,
    prefix_BP: Tensor,
    allowed_BV: Tensor,
    row_seeds: Sequence[int],
    sampling: Sampling,
    end_id: int,
) -> list[list[Candidate]]:
    """Candidates of each row. Tokens are drawn by inverting the cumulative distribution at
    `uniforms(seed, step)`."""
    num_candidates = len(sampling.candidates)
    prefix_AP, allowed_AV, prefix_of_B = unique_prefixes(prefix_BP, allowed_BV)
    drafts = Drafts.empty(row_seeds, sampling, end_id, prefix_BP.device)
    unfinished_N = torch.arange(len(drafts), device=prefix_BP.device)
    branch_of_N = prefix_of_B.repeat_interleave(num_candidates)
    logits_MV, state = network.start(prefix_AP)
    stretch, forbidden_MR = restrictions(allowed_AV)
    for step in range(sampling.max_tokens):
        logits_MV = logits_MV.float()
        logits_MV[:, stretch].masked_fill_(forbidden_MR, float("-inf"))
        tokens_N, log_probability_N = choose(
            logits_MV,
            branch_of_N,
            drafts.seeds_N[unfinished_N],
            drafts.is_greedy_N[unfinished_N],
            step,
            sampling.temperature,
        )
        drafts.tokens_NT[unfinished_N, step] = tokens_N
        drafts.log_probability_N[unfinished_N] += log_probability_N
        goes_on = (tokens_N != end_id).nonzero()[:, 0]
        if len(goes_on) == 0 or step + 1 == sampling.max_tokens:
            break
        unfinished_N = unfinished_N[goes_on]
        # Candidates of a branch that chose the same token stay one branch.
        num_tokens = logits_MV.shape[1]
        choices_N = branch_of_N[goes_on] * num_tokens + tokens_N[goes_on]
        choices_M, branch_of_N = choices_N.unique(return_inverse=True)
        parents_M = choices_M // num_tokens
        state.reorder(parents_M)
        forbidden_MR = forbidden_MR[parents_M]
        logits_MV = network.step(choices_M % num_tokens, state)
    return drafts.candidates(end_id, num_candidates)


@dataclass(slots=True)
class Drafts:
    """All candidates of a batch while they are written; those of a row are neighbours."""

    seeds_N: Tensor
    is_greedy_N: Tensor
    tokens_NT: Tensor
    """Filled with the end, so only ends follow an end."""
    log_probability_N: Tensor

    @classmethod
    def empty(
        cls, row_seeds: Sequence[int], sampling: Sampling, end_id: int, device: torch.device
    ) -> "Drafts":
        numbers_C = torch.tensor(sampling.candidates, device=device)
        row_seeds_B = torch.tensor(row_seeds, dtype=torch.int64, device=device)
        numbers_N = numbers_C.repeat(len(row_seeds_B))
        row_seeds_N = row_seeds_B.repeat_interleave(len(numbers_C))
        return cls(
            derive_seeds(row_seeds_N, numbers_N),
            numbers_N == GREEDY,
            torch.full((len(numbers_N), sampling.max_tokens), end_id, device=device),
            torch.zeros(len(numbers_N), dtype=torch.float64, device=device),
        )

    def __len__(self) -> int:
        return len(self.seeds_N)

    def candidates(self, end_id: int, num_candidates: int) -> list[list[Candidate]]:
        """The finished texts, by row."""
        found = []
        log_probabilities = self.log_probability_N.tolist()
        for tokens, log_probability in zip(self.tokens_NT.tolist(), log_probabilities, strict=True):
            is_finished = tokens[-1] == end_id
            text = tokens[: tokens.index(end_id)] if is_finished else tokens
            found.append(Candidate(tuple(text), log_probability, is_finished))
        return [found[i : i + num_candidates] for i in range(0, len(found), num_candidates)]


def unique_prefixes(prefix_BP: Tensor, allowed_BV: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The different pairs of a prefix and its allowed tokens, and which pair each row has. Many
    rows share a pair, since values are slots here."""
    pairs_BQ = torch.cat([prefix_BP, allowed_BV], dim=1)
    pairs_AQ, pair_of_B = pairs_BQ.unique(dim=0, return_inverse=True)
    num_prefix = prefix_BP.shape[1]
    return pairs_AQ[:, :num_prefix], pairs_AQ[:, num_prefix:].bool(), pair_of_B


def restrictions(allowed_BV: Tensor) -> tuple[slice, Tensor]:
    """The stretch of the vocabulary with all tokens that some row forbids, and what each row
    forbids in it: [B, R]."""
    places = (~allowed_BV).any(0).nonzero()[:, 0]
    stretch = slice(int(places[0]), int(places[-1]) + 1) if len(places) else slice(0, 0)
    return stretch, ~allowed_BV[:, stretch]


def choose(
    logits_MV: Tensor,
    branch_of_N: Tensor,
    seeds_N: Tensor,
    is_greedy_N: Tensor,
    step: int,
    temperature: float,
) -> tuple[Tensor, Tensor]:
    """A token for each candidate, and its log-probability at temperature 1 in float64. Overwrites
    the logits."""
    logits_MV -= logits_MV.amax(-1, keepdim=True)
    weights_MKW, log_total_M = softmax_weights(logits_MV, temperature)
    tokens_N = draw(weights_MKW, branch_of_N, uniforms(seeds_N, step))
    greedy = is_greedy_N.nonzero()[:, 0]
    tokens_N[greedy] = logits_MV[branch_of_N[greedy]].argmax(-1)
    log_probability_N = logits_MV[branch_of_N, tokens_N] - log_total_M[branch_of_N]
    return tokens_N, log_probability_N.double()


def softmax_weights(logits_MV: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """exp(logit / temperature) in blocks, the last of which is filled up with zeros; and
    log Σ exp(logit), at temperature 1."""
    num_branches, num_tokens = logits_MV.shape
    num_blocks = ceil_div(num_tokens, BLOCK)
    weights_MV = logits_MV.new_empty(num_branches, num_blocks * BLOCK)
    weights_MV[:, num_tokens:] = 0.0
    # One buffer for both temperatures: logits are the largest tensors of a step.
    of_tokens_MV = weights_MV[:, :num_tokens]
    log_total_M = torch.exp(logits_MV, out=of_tokens_MV).sum(-1).log()
    torch.mul(logits_MV, 1 / temperature, out=of_tokens_MV).exp_()
    return weights_MV.unflatten(1, (num_blocks, BLOCK)), log_total_M


def draw(weights_MKW: Tensor, branch_of_N: Tensor, uniform_N: Tensor) -> Tensor:
    """A token for each candidate, by inverting its branch's cumulative distribution at `uniform_N`.

    First finds the block, then the token in it. So a whole vocabulary is summed only once, in
    float32, and cumulative sums in float64 are short.
    """
    sums_NK = weights_MKW.sum(-1).double().cumsum(-1)[branch_of_N]
    target_N1 = uniform_N.clamp(max=BELOW_ONE)[:, None] * sums_NK[:, -1:]
    block_N1 = torch.searchsorted(sums_NK, target_N1, right=True)
    before_N1 = torch.where(block_N1 > 0, sums_NK.gather(1, (block_N1 - 1).clamp(min=0)), 0.0)
    sums_NW = weights_MKW[branch_of_N, block_N1[:, 0]].double().cumsum(-1)
    # A block's rounded sum may lie a little above its sum here. The target must stay below, or a
    # token without weight would be drawn.
    rest_N1 = torch.minimum(target_N1 - before_N1, sums_NW[:, -1:] * BELOW_ONE).clamp(min=0.0)
    place_N1 = torch.searchsorted(sums_NW, rest_N1, right=True)
    return (block_N1 * BLOCK + place_N1)[:, 0]
