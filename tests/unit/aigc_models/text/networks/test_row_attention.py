import torch

from aigc_models.text.networks.row_attention import mixed, scores

QUERIES, HEADS, SEEN, WIDTH, ROWS = 5, 2, 7, 6, 40


def test_sparse_operations_give_what_gathered_rows_give() -> None:
    torch.manual_seed(0)
    query, table = torch.randn(QUERIES, HEADS, WIDTH), torch.randn(ROWS, WIDTH)
    places = torch.randint(ROWS, (QUERIES, HEADS, SEEN))
    found = scores(query, table, places)
    torch.testing.assert_close(found, torch.einsum("nhd,nhsd->nhs", query, table[places]))
    weights = torch.softmax(found, -1)
    torch.testing.assert_close(
        mixed(weights, table, places), torch.einsum("nhs,nhsd->nhd", weights, table[places])
    )


def test_a_row_that_is_no_number_reaches_only_those_who_attend_to_it() -> None:
    table = torch.ones(ROWS, WIDTH)
    table[3] = float("nan")
    found = scores(torch.ones(QUERIES, HEADS, WIDTH), table, torch.full((QUERIES, HEADS, SEEN), 4))
    assert found.eq(WIDTH).all()


def test_other_devices_get_the_same_shapes() -> None:
    query, table = (
        torch.randn(QUERIES, HEADS, WIDTH, device="meta"),
        torch.randn(ROWS, WIDTH, device="meta"),
    )
    places = torch.zeros(QUERIES, HEADS, SEEN, dtype=torch.int64, device="meta")
    found = scores(query, table, places)
    assert found.shape == places.shape
    assert mixed(found, table, places).shape == query.shape
