import torch

from aigc_models.layers.transformer import (
    Attention,
    TransformerConfig,
    attention_mask,
    rotary_at,
    rotate,
)

CONFIG = TransformerConfig(width=12, num_layers=1, num_heads=2, mlp_width=8)


@torch.no_grad()
def test_rotated_weights_project_as_rotating_queries_and_keys_does() -> None:
    torch.manual_seed(0)
    attention, x_NE = Attention(CONFIG), torch.randn(5, 12)
    rotary = rotary_at(torch.tensor([7]), CONFIG.head_width, CONFIG.rotary_base)
    q, k, v = (each[:, :, 0] for each in attention.project(x_NE[:, None], rotary))
    found = (x_NE @ attention.rotated_weights(rotary).t()).unflatten(1, (3, 2, -1)).unbind(1)
    for ours, expected in zip(found, (q / CONFIG.head_width**0.5, k, v), strict=True):
        torch.testing.assert_close(ours, expected)


def test_products_of_rotated_vectors_depend_on_their_distance_only() -> None:
    torch.manual_seed(0)
    q, k = torch.randn(6), torch.randn(6)

    def product(q_position: int, k_position: int) -> float:
        rotated_q = rotate(q[None], rotary_at(torch.tensor([q_position]), 6, 100.0))
        rotated_k = rotate(k[None], rotary_at(torch.tensor([k_position]), 6, 100.0))
        return float((rotated_q * rotated_k).sum())

    assert abs(product(3, 1) - product(12, 10)) < 1e-5
    assert abs(product(3, 1) - product(12, 11)) > 1e-3


def test_positions_see_what_is_visible_and_padding_sees_itself() -> None:
    visible = torch.tensor([[False, True, True]])
    causal = attention_mask(visible, is_causal=True)[0, 0]
    assert causal.int().tolist() == [[1, 0, 0], [0, 1, 0], [0, 1, 1]]
    both = attention_mask(visible, is_causal=False)[0, 0]
    assert both.int().tolist() == [[1, 1, 1], [0, 1, 1], [0, 1, 1]]
