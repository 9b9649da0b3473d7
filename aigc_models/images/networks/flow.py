"""Class-conditional flow matching (Lipman et al. 2023) in the latents of a variational autoencoder.

Latents are whitened by the autoencoder's Gaussian of their class, so the flow only learns how they
differ from a Gaussian. Pictures are decoded from latents as in Rombach et al. (2022).

B batch, K classes, Z latent width, E width, F features of the condition, M = 3 E scales, shifts and
gates.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from aigc_models.images.networks.vae import VAE, VAEConfig

SIGMA_MIN = 1e-3
CONDITION_WIDTH = 128


@dataclass(frozen=True, slots=True, kw_only=True)
class FlowConfig:
    vae: VAEConfig
    width: int = 384
    num_blocks: int = 4
    dropout: float = 0.0
    num_sampling_steps: int = 5
    """Steps of Heun's method, which evaluates the velocity twice in each."""

    def __post_init__(self) -> None:
        smallest = min(self.width, self.num_blocks, self.num_sampling_steps)
        if smallest < 1 or not 0 <= self.dropout < 1:
            raise ValueError("sizes must be positive and dropout in [0, 1)")


class Block(nn.Module):
    """A gated MLP whose norm is scaled, shifted and gated by the condition (Peebles and Xie 2023,
    adaLN-Zero)."""

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.modulation = nn.Linear(CONDITION_WIDTH, 3 * width)
        self.up = nn.Linear(width, 2 * width)
        self.down = nn.Linear(width, width)
        self.drop = nn.Dropout(dropout)
        nn.init.zeros_(self.modulation.weight)
        nn.init.zeros_(self.modulation.bias)

    def forward(self, x_BE: Tensor, modulation_BM: Tensor) -> Tensor:
        scale, shift, gate = modulation_BM.chunk(3, dim=1)
        value, opening = self.up(self.norm(x_BE) * (1 + scale) + shift).chunk(2, dim=1)
        return x_BE + gate * self.down(self.drop(value * F.silu(opening)))


class Velocity(nn.Module):
    """v(x, t, label), the velocity of a point at time t in [0, 1]."""

    def __init__(self, config: FlowConfig) -> None:
        super().__init__()
        self.time = nn.Sequential(nn.Linear(CONDITION_WIDTH, CONDITION_WIDTH), nn.SiLU())
        self.label = nn.Embedding(config.vae.num_classes, CONDITION_WIDTH)
        self.condition = nn.Sequential(nn.Linear(CONDITION_WIDTH, CONDITION_WIDTH), nn.SiLU())
        self.first = nn.Linear(config.vae.latent_width, config.width)
        self.blocks = nn.ModuleList(
            Block(config.width, config.dropout) for _ in range(config.num_blocks)
        )
        self.norm = nn.LayerNorm(config.width)
        self.last = nn.Linear(config.width, config.vae.latent_width)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)

    def forward(self, x_BZ: Tensor, time_B: Tensor, labels_B: Tensor) -> Tensor:
        return self.at(x_BZ, self.modulations(time_B, labels_B))

    def modulations(self, time_B: Tensor, labels_B: Tensor) -> list[Tensor]:
        """The modulation [B, M] of each block, which depends only on time and label."""
        condition_BF = self.condition(self.time(encode_time(time_B)) + self.label(labels_B))
        return [block.get_submodule("modulation")(condition_BF) for block in self.blocks]

    def at(self, x_BZ: Tensor, modulations: list[Tensor]) -> Tensor:
        x_BE = self.first(x_BZ)
        for block, modulation_BM in zip(self.blocks, modulations, strict=True):
            x_BE = block(x_BE, modulation_BM)
        velocity_BZ: Tensor = self.last(self.norm(x_BE))
        return velocity_BZ


def encode_time(time_B: Tensor) -> Tensor:
    """Sines and cosines of the time at rates from 1 to 1000 (after Vaswani et al. 2017)."""
    half = CONDITION_WIDTH // 2
    rates = torch.exp(torch.arange(half, device=time_B.device) * (math.log(1000.0) / (half - 1)))
    angles = time_B[:, None] * rates
    return torch.cat([angles.sin(), angles.cos()], dim=1)


class LatentFlow(nn.Module):
    def __init__(self, config: FlowConfig) -> None:
        super().__init__()
        self.config = config
        self.noise_width = config.vae.latent_width
        self.vae = VAE(config.vae)
        self.velocity = Velocity(config)

    def integrate(self, noise_BZ: Tensor, labels_B: Tensor) -> Tensor:
        """Whitened latents: integrates dx/dt = v(x, t) from 0 to 1 by Heun's method."""
        x_BZ = noise_BZ.float()
        step = 1 / self.config.num_sampling_steps
        next_modulations = self._modulations(0.0, labels_B)
        for i in range(self.config.num_sampling_steps):
            modulations = next_modulations
            next_modulations = self._modulations((i + 1) * step, labels_B)
            slope = self.velocity.at(x_BZ, modulations)
            slope_after = self.velocity.at(x_BZ + step * slope, next_modulations)
            x_BZ = x_BZ + step * (slope + slope_after) / 2
        return x_BZ

    def _modulations(self, time: float, labels_B: Tensor) -> list[Tensor]:
        """The modulations of all rows, computed once per class if there are fewer classes."""
        num_classes = self.config.vae.num_classes
        if num_classes >= len(labels_B):
            time_B = torch.full_like(labels_B, time, dtype=torch.float32)
            return self.velocity.modulations(time_B, labels_B)
        classes_K = torch.arange(num_classes, device=labels_B.device)
        time_K = torch.full_like(classes_K, time, dtype=torch.float32)
        of_classes = self.velocity.modulations(time_K, classes_K)
        return [modulation_KM[labels_B] for modulation_KM in of_classes]

    def generate(self, noise_BZ: Tensor, labels_B: Tensor) -> Tensor:
        return self.vae.generate(self.integrate(noise_BZ, labels_B), labels_B)


def flow_pair(latents_BZ: Tensor, noise_BZ: Tensor, time_B: Tensor) -> tuple[Tensor, Tensor]:
    """The point ψ_t = (1 - (1 - σ_min) t) x₀ + t x₁ and its velocity x₁ - (1 - σ_min) x₀ (Lipman et
    al. 2023, eq. 22, 23)."""
    time_B1 = time_B[:, None]
    point_BZ = (1 - (1 - SIGMA_MIN) * time_B1) * noise_BZ + time_B1 * latents_BZ
    return point_BZ, latents_BZ - (1 - SIGMA_MIN) * noise_BZ


def flow_matching_loss(velocity: nn.Module, latents_BZ: Tensor, labels_B: Tensor) -> Tensor:
    """Mean squared error of the velocity at random times on straight paths from noise to
    latents."""
    noise_BZ = torch.randn_like(latents_BZ)
    time_B = torch.rand(len(latents_BZ), device=latents_BZ.device)
    point_BZ, target_BZ = flow_pair(latents_BZ, noise_BZ, time_B)
    return (velocity(point_BZ, time_B, labels_B).float() - target_BZ).square().mean()
