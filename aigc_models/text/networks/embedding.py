"""Token embeddings in which the symbols of acts share parts: all slots of a key share a vector for
that key, all second slots share one for their number.

So a rare symbol (the third weight of a comparison) borrows from frequent ones.

N rows, P tokens of a row, V vocabulary, E width, L links.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class TokenEmbedding(nn.Module):
    """e(token) = own(token) + Σ shared(part) over the token's parts. Networks also use it as their
    output matrix (tied embeddings)."""

    def __init__(
        self, vocab_size: int, num_parts: int, num_links: int, width: int, std: float
    ) -> None:
        super().__init__()
        self.own = nn.Parameter(torch.randn(vocab_size, width) * std)
        self.shared = nn.Parameter(torch.randn(num_parts, width) * std)
        self.token_of_L: Tensor
        self.part_of_L: Tensor
        self.register_buffer("token_of_L", torch.zeros(num_links, dtype=torch.int64))
        self.register_buffer("part_of_L", torch.zeros(num_links, dtype=torch.int64))

    def link(self, links: Sequence[tuple[int, int]]) -> None:
        """Sets the (token, part) pairs; their number must be the module's `num_links`."""
        links_L2 = torch.tensor(list(links), dtype=torch.int64, device=self.own.device)
        # An empty tensor has one dimension only.
        links_L2 = links_L2.reshape(-1, 2)
        self.token_of_L.copy_(links_L2[:, 0])
        self.part_of_L.copy_(links_L2[:, 1])

    def table(self) -> Tensor:
        """The embeddings [V, E] of all tokens."""
        return self.own.index_add(0, self.token_of_L, self.shared[self.part_of_L])

    def forward(self, tokens: Tensor) -> Tensor:
        return F.embedding(tokens, self.table())

    def logits(self, x: Tensor) -> Tensor:
        """[..., E] to [..., V]."""
        return F.linear(x, self.table())

    def frozen(self) -> "FrozenEmbedding":
        """The same embeddings for decoding: the table is computed once instead of at each use."""
        return FrozenEmbedding(self.table().detach())


class FrozenEmbedding:
    def __init__(self, table_VE: Tensor) -> None:
        self._table_VE = table_VE

    def __call__(self, tokens: Tensor) -> Tensor:
        return F.embedding(tokens, self._table_VE)

    def logits(self, x: Tensor) -> Tensor:
        """[..., E] to [..., V]."""
        return F.linear(x, self._table_VE)

    def weighted_sums(self, tokens_NP: Tensor, weights_NP: Tensor) -> Tensor:
        """The sum [N, E] of each row's embeddings, each times its weight."""
        return F.embedding_bag(tokens_NP, self._table_VE, per_sample_weights=weights_NP, mode="sum")
