"""The text model families by name, and what decoding needs of their networks."""

from dataclasses import asdict
from typing import Any, Protocol

from torch import Tensor

from aigc_models.text.networks.gpt import GPT, GPTConfig
from aigc_models.text.networks.rnn import RNN, RNNConfig
from aigc_models.text.settings import FAMILIES, GPT_FAMILY, RNN_FAMILIES

TextNetwork = GPT | RNN


class State(Protocol):
    """What a network keeps of the branches that are decoded."""

    def reorder(self, branches: Tensor, /) -> None:
        """Replaces the branches by those at the given indices, which may repeat."""


class AutoregressiveNetwork(Protocol):
    """What decoding needs of a network. A prefixes, P positions padded on the left, M branches,
    V vocabulary."""

    def start(self, prefix_AP: Tensor, /) -> tuple[Tensor, State]:
        """Logits [A, V] of the first text token, and the state to decode from."""

    def step(self, tokens_M: Tensor, state: Any, /) -> Tensor:
        """Logits [M, V] of what follows these tokens, one per branch; appends them to `state`."""


def build_network(family: str, options: dict[str, Any]) -> TextNetwork:
    """A network with fresh weights; `options` are the fields of its configuration."""
    if family == GPT_FAMILY:
        return GPT(GPTConfig(**options))
    if family in RNN_FAMILIES:
        return RNN(RNNConfig(cell=family, **options))  # type: ignore[arg-type]  # checked in __post_init__
    raise ValueError(f"family must be one of {', '.join(FAMILIES)}, not {family!r}")


def network_options(network: TextNetwork) -> dict[str, Any]:
    """The options from which `build_network` builds this network."""
    options = asdict(network.config)
    options.pop("cell", None)
    return options
