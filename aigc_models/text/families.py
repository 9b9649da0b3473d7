"""The text model families by name: which network and configuration a checkpoint holds."""

from dataclasses import asdict
from typing import Any, Protocol

from torch import Tensor

from aigc_models.text.networks.gpt import GPT, GPTConfig
from aigc_models.text.networks.rnn import RNN, RNNConfig
from aigc_models.text.settings import FAMILIES, GPT_FAMILY, RNN_FAMILIES

TextNetwork = GPT | RNN


class State(Protocol):
    def select(self, rows: Tensor) -> Any: ...


class Generator(Protocol):
    """What decoding asks of a network; B rows, P prefix positions padded on the left, V
    vocabulary."""

    def start(self, prefix_BP: Tensor) -> tuple[Tensor, Any]: ...

    def step(self, tokens_B: Tensor, state: Any) -> tuple[Tensor, Any]: ...


def build_network(family: str, options: dict[str, Any]) -> TextNetwork:
    """A network with fresh weights; `options` are the fields of its configuration."""
    if family == GPT_FAMILY:
        return GPT(GPTConfig(**options))
    if family in RNN_FAMILIES:
        return RNN(RNNConfig(cell=family, **options))  # type: ignore[arg-type]  # checked in __post_init__
    raise ValueError(f"family must be one of {', '.join(FAMILIES)}, not {family!r}")


def network_options(network: TextNetwork) -> dict[str, Any]:
    """The options that `build_network` makes this network from."""
    options = asdict(network.config)
    options.pop("cell", None)
    return options
