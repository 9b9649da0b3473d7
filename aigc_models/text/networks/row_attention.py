"""Attention of single queries to rows that lie anywhere in a table: on CPUs by sparse operations,
which copy nothing.

N queries, H heads, S rows that a query attends to, R rows of the table, D width.
"""

import warnings

import torch
import torch.nn.functional as F
from torch import Tensor

with warnings.catch_warnings():  # torch says once in each process that such tensors are "in beta"
    warnings.simplefilter("ignore")
    torch.sparse_csr_tensor([0, 0], [], [], size=(1, 1))


def scores(query_NHD: Tensor, keys_RD: Tensor, places_NHS: Tensor) -> Tensor:
    """The products [N, H, S] of each query with the keys at its places."""
    if query_NHD.device.type != "cpu":
        return (keys_RD[places_NHS] @ query_NHD[..., None])[..., 0]
    starts = torch.arange(0, places_NHS.numel() + 1, places_NHS.shape[2])
    products = torch.sparse_csr_tensor(
        starts,
        places_NHS.flatten(),
        query_NHD.new_zeros(places_NHS.numel()),
        size=(len(starts) - 1, len(keys_RD)),
        check_invariants=False,
    )
    torch.sparse.sampled_addmm(
        products, query_NHD.flatten(0, 1), keys_RD.t(), beta=0.0, out=products
    )
    return products.values().view(places_NHS.shape)


def mixed(weights_NHS: Tensor, values_RD: Tensor, places_NHS: Tensor) -> Tensor:
    """The sums [N, H, D] of the values at a query's places, weighted."""
    if weights_NHS.device.type != "cpu":
        return (weights_NHS[:, :, None] @ values_RD[places_NHS])[:, :, 0]
    sums = F.embedding_bag(
        places_NHS.flatten(0, 1),
        values_RD,
        per_sample_weights=weights_NHS.flatten(0, 1),
        mode="sum",
    )
    return sums.unflatten(0, places_NHS.shape[:2])
