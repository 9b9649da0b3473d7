import pytest
import torch

from aigc_models.text.families import build_network, network_options
from aigc_models.text.settings import FAMILIES


@pytest.mark.parametrize("family", FAMILIES)
def test_a_network_can_be_rebuilt_from_its_options(family: str) -> None:
    network = build_network(family, {"vocab_size": 20, "width": 8})
    again = build_network(family, network_options(network))
    again.load_state_dict(network.state_dict())
    prefix, text = torch.tensor([[1, 2]]), torch.tensor([[3, 4]])
    assert again.eval()(prefix, text).equal(network.eval()(prefix, text))


@pytest.mark.parametrize("family", FAMILIES)
def test_each_family_can_overfit_one_batch(family: str) -> None:
    torch.manual_seed(0)
    network = build_network(family, {"vocab_size": 20, "width": 32, "dropout": 0.0})
    optimiser = torch.optim.AdamW(network.parameters(), lr=1e-2)
    prefix, text = torch.randint(1, 20, (8, 4)), torch.randint(1, 20, (8, 6))
    for _ in range(120):
        loss = torch.nn.functional.cross_entropy(
            network(prefix, text)[:, :-1].flatten(0, 1), text.flatten()
        )
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert loss.item() < 0.05


@pytest.mark.parametrize("family", FAMILIES)
def test_each_family_trains_in_bfloat16(family: str) -> None:
    network = build_network(family, {"vocab_size": 20, "width": 16})
    network.coverage.set_facts({3: 1, 4: 2}, [3])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = (
            network(torch.tensor([[3, 4, 1]]), torch.tensor([[5, 3, 6]]))
            .float()
            .logsumexp(-1)
            .mean()
        )
    loss.backward()
    assert all(torch.isfinite(p.grad).all() for p in network.parameters() if p.grad is not None)


def test_an_unknown_family_is_refused() -> None:
    with pytest.raises(ValueError, match="family must be one of gpt, rnn, lstm, gru, not 'bert'"):
        build_network("bert", {"vocab_size": 5})
