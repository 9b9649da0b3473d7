"""Token embeddings in which symbols of acts share parts: every slot of a key its key, every second
product its number.

Rare symbols (the third weight of a comparison) so borrow from frequent ones. V vocabulary, E width,
L links.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class TokenEmbedding(nn.Module):
    """e(token) = own(token) + Σ shared(part) over the token's parts; also the output matrix of the
    networks here."""

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
        """Sets which (token, part) pairs belong together; as many as the module was made for."""
        pairs_L2 = torch.tensor(list(links), dtype=torch.int64, device=self.own.device).reshape(
            -1, 2
        )
        self.token_of_L.copy_(pairs_L2[:, 0])
        self.part_of_L.copy_(pairs_L2[:, 1])

    def table(self) -> Tensor:
        """The embeddings [V, E] of all tokens."""
        return self.own.index_add(0, self.token_of_L, self.shared[self.part_of_L])

    def forward(self, tokens: Tensor) -> Tensor:
        return F.embedding(tokens, self.table())

    def logits(self, x: Tensor) -> Tensor:
        return F.linear(x, self.table())

    def frozen(self) -> "FrozenEmbedding":
        """The same for weights that stay as they are: the table is put together once, not at each
        use."""
        return FrozenEmbedding(self.table().detach())


class FrozenEmbedding:
    def __init__(self, table_VE: Tensor) -> None:
        self._table_VE = table_VE

    def __call__(self, tokens: Tensor) -> Tensor:
        return F.embedding(tokens, self._table_VE)

    def logits(self, x: Tensor) -> Tensor:
        return F.linear(x, self._table_VE)

    def sums(self, tokens_NP: Tensor, weights_NP: Tensor) -> Tensor:
        """Weighted sums [N, E] of embeddings."""
        return F.embedding_bag(tokens_NP, self._table_VE, per_sample_weights=weights_NP, mode="sum")
