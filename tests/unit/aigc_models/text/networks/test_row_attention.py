import torch

from aigc_models.text.networks.row_attention import attention_scores, weighted_values

QUERIES, HEADS, SEEN, WIDTH, ROWS = 5, 2, 7, 6, 40


def test_sparse_operations_agree_with_gathered_rows() -> None:
    torch.manual_seed(0)
    query, table = torch.randn(QUERIES, HEADS, WIDTH), torch.randn(ROWS, WIDTH)
    rows = torch.randint(ROWS, (QUERIES, HEADS, SEEN))
    found = attention_scores(query, table, rows)
    torch.testing.assert_close(found, torch.einsum("nhd,nhsd->nhs", query, table[rows]))
    weights = torch.softmax(found, -1)
    torch.testing.assert_close(
        weighted_values(weights, table, rows), torch.einsum("nhs,nhsd->nhd", weights, table[rows])
    )


def test_a_row_of_nan_reaches_only_queries_that_attend_to_it() -> None:
    table = torch.ones(ROWS, WIDTH)
    table[3] = float("nan")
    found = attention_scores(
        torch.ones(QUERIES, HEADS, WIDTH), table, torch.full((QUERIES, HEADS, SEEN), 4)
    )
    assert found.eq(WIDTH).all()


def test_other_devices_get_the_same_shapes() -> None:
    query, table = (
        torch.randn(QUERIES, HEADS, WIDTH, device="meta"),
        torch.randn(ROWS, WIDTH, device="meta"),
    )
    rows = torch.zeros(QUERIES, HEADS, SEEN, dtype=torch.int64, device="meta")
    found = attention_scores(query, table, rows)
    assert found.shape == rows.shape
    assert weighted_values(found, table, rows).shape == query.shape
