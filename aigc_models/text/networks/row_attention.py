"""Attention of single queries to rows anywhere in a table.

On CPUs it uses sparse operations, which copy no rows; other devices gather the rows.

N queries, H heads, S rows that a query attends to, R rows of the table, D width.
"""

import warnings

import torch
import torch.nn.functional as F
from torch import Tensor

with warnings.catch_warnings():
    # torch warns once per process that sparse CSR tensors are "in beta": make it warn here.
    warnings.simplefilter("ignore")
    torch.sparse_csr_tensor([0, 0], [], [], size=(1, 1))


def attention_scores(query_NHD: Tensor, keys_RD: Tensor, rows_NHS: Tensor) -> Tensor:
    """The products [N, H, S] of each query with the keys in its rows."""
    if query_NHD.device.type != "cpu":
        return (keys_RD[rows_NHS] @ query_NHD[..., None])[..., 0]
    # One sparse matrix row per query and head, with S columns each.
    starts = torch.arange(0, rows_NHS.numel() + 1, rows_NHS.shape[2])
    products = torch.sparse_csr_tensor(
        starts,
        rows_NHS.flatten(),
        query_NHD.new_zeros(rows_NHS.numel()),
        size=(len(starts) - 1, len(keys_RD)),
        check_invariants=False,
    )
    torch.sparse.sampled_addmm(
        products, query_NHD.flatten(0, 1), keys_RD.t(), beta=0.0, out=products
    )
    return products.values().view(rows_NHS.shape)


def weighted_values(weights_NHS: Tensor, values_RD: Tensor, rows_NHS: Tensor) -> Tensor:
    """The weighted sum [N, H, D] of the values in each query's rows."""
    if weights_NHS.device.type != "cpu":
        return (weights_NHS[:, :, None] @ values_RD[rows_NHS])[:, :, 0]
    sums = F.embedding_bag(
        rows_NHS.flatten(0, 1),
        values_RD,
        per_sample_weights=weights_NHS.flatten(0, 1),
        mode="sum",
    )
    return sums.unflatten(0, rows_NHS.shape[:2])
