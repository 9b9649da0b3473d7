import torch

from aigc_models.text.networks.embedding import TokenEmbedding


def test_an_embedding_is_the_sum_of_its_own_vector_and_its_parts() -> None:
    embedding = TokenEmbedding(vocab_size=3, num_parts=2, num_links=3, width=4, std=1.0)
    embedding.link([(0, 0), (0, 1), (2, 1)])
    own, shared = embedding.own, embedding.shared
    expected = torch.stack([own[0] + shared[0] + shared[1], own[1], own[2] + shared[1]])
    torch.testing.assert_close(embedding.table(), expected)
    torch.testing.assert_close(embedding(torch.tensor([2, 0])), expected[[2, 0]])
    torch.testing.assert_close(embedding.logits(torch.ones(1, 4)), expected.sum(1)[None])


def test_links_are_part_of_the_weights() -> None:
    embedding = TokenEmbedding(vocab_size=3, num_parts=2, num_links=2, width=4, std=1.0)
    embedding.link([(1, 0), (2, 1)])
    other = TokenEmbedding(vocab_size=3, num_parts=2, num_links=2, width=4, std=1.0)
    other.load_state_dict(embedding.state_dict())
    assert other.table().equal(embedding.table())
