import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from aigc_models.text.networks.gpt import GPT, GPTConfig

CONFIG = GPTConfig(vocab_size=50, width=16, num_layers=2, num_heads=2, mlp_width=24, dropout=0.0)
PREFIX = torch.tensor([[3, 4, 5, 1], [0, 0, 6, 1]])
TEXT = torch.tensor([[7, 8, 9, 10, 11], [12, 13, 14, 15, 16]])


@pytest.fixture
def network() -> GPT:
    torch.manual_seed(0)
    return GPT(CONFIG).eval()


def llama_like(network: GPT) -> LlamaForCausalLM:
    """The same network in transformers' classes; ours must have no shared embeddings and no
    coverage."""
    ours = network.config
    config = LlamaConfig(
        vocab_size=ours.vocab_size,
        hidden_size=ours.width,
        intermediate_size=ours.mlp_width,
        num_hidden_layers=ours.num_layers,
        num_attention_heads=ours.num_heads,
        rms_norm_eps=1e-6,
        rope_theta=ours.rotary_base,
        tie_word_embeddings=True,
        pad_token_id=ours.pad_id,
        eos_token_id=ours.end_id,
        bos_token_id=None,
    )
    model = LlamaForCausalLM(config).eval()
    weights = {
        "model.embed_tokens.weight": network.embedding.own,
        "model.norm.weight": network.norm.weight,
        "lm_head.weight": network.embedding.own,
    }
    for i, block in enumerate(network.blocks):
        q, k, v = block.attention.qkv.weight.chunk(3)
        gate, up = block.gate_up.weight.chunk(2)
        layer = {
            "self_attn.q_proj": q,
            "self_attn.k_proj": k,
            "self_attn.v_proj": v,
            "self_attn.o_proj": block.attention.out.weight,
            "mlp.gate_proj": gate,
            "mlp.up_proj": up,
            "mlp.down_proj": block.down.weight,
            "input_layernorm": block.attention_norm.weight,
            "post_attention_layernorm": block.mlp_norm.weight,
        }
        weights |= {f"model.layers.{i}.{name}.weight": weight for name, weight in layer.items()}
    model.load_state_dict(weights)
    return model


@torch.no_grad()
def test_logits_equal_those_of_transformers(network: GPT) -> None:
    for parameter in network.parameters():
        parameter.mul_(5.0)
    tokens = torch.cat([PREFIX, TEXT], dim=1)
    theirs = llama_like(network)(tokens, attention_mask=(tokens != 0).long()).logits
    expected = theirs[:, PREFIX.shape[1] - 1 :]
    torch.testing.assert_close(network(PREFIX, TEXT), expected, atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_cached_steps_give_the_logits_of_a_whole_pass(network: GPT) -> None:
    text = TEXT.repeat(1, 20)  # the tables of keys and values grow several times
    expected = network(PREFIX, text)
    logits, state = network.start(PREFIX)
    torch.testing.assert_close(logits, expected[:, 0])
    for t in range(text.shape[1]):
        logits = network.step(text[:, t], state)
        torch.testing.assert_close(logits, expected[:, t + 1], atol=1e-5, rtol=1e-4)


@torch.no_grad()
def test_padding_on_the_left_does_not_change_logits(network: GPT) -> None:
    padded = torch.cat([torch.zeros(2, 3, dtype=torch.int64), PREFIX], dim=1)
    torch.testing.assert_close(network(padded, TEXT), network(PREFIX, TEXT), atol=1e-5, rtol=1e-4)


@torch.no_grad()
def test_later_tokens_do_not_change_earlier_logits(network: GPT) -> None:
    changed = TEXT.clone()
    changed[:, 3:] = 20
    torch.testing.assert_close(network(PREFIX, changed)[:, :4], network(PREFIX, TEXT)[:, :4])


@torch.no_grad()
def test_reordered_branches_continue_as_before(network: GPT) -> None:
    _, state = network.start(PREFIX)
    rows = torch.tensor([1, 1, 0])
    state.reorder(rows)
    logits = network.step(TEXT[rows, 0], state)
    torch.testing.assert_close(logits, network(PREFIX, TEXT[:, :1])[rows, 1], atol=1e-5, rtol=1e-4)


def test_heads_must_divide_the_width() -> None:
    with pytest.raises(ValueError, match="must split"):
        GPTConfig(vocab_size=5, width=10, num_heads=4)
