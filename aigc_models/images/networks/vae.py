"""A class-conditional variational autoencoder (Kingma and Welling 2014; Sohn et al. 2015).

The pixels' variance is the optimal one for each batch (Rybkin et al. 2021), so the two terms of the
loss need no weight. After training, a Gaussian per class is fitted to the latents (Ghosh et al.
2020): if the posteriors as a whole do not match the prior, samples of the prior do not decode to
pictures.

B batch, N all training pictures, C colours, H height, W width, Z latent width, K classes.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from aigc_models.images.networks.autoencoder import AutoencoderConfig, Decoder, Encoder
from aigc_models.training.data_parallel import mean_over_ranks

MAX_LOG_VARIANCE = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class VAEConfig(AutoencoderConfig):
    num_classes: int
    latent_width: int = 32
    width: int = 32


class VAE(nn.Module):
    mean_KZ: Tensor
    factor_KZZ: Tensor

    def __init__(self, config: VAEConfig) -> None:
        super().__init__()
        self.config = config
        self.noise_width = config.latent_width
        self.encoder = Encoder(config, 2 * config.latent_width, config.num_classes)
        self.decoder = Decoder(config, config.num_classes)
        self.register_buffer("mean_KZ", torch.zeros(config.num_classes, config.latent_width))
        self.register_buffer(
            "factor_KZZ", torch.eye(config.latent_width).repeat(config.num_classes, 1, 1)
        )

    def encode(self, images_BCHW: Tensor, labels_B: Tensor) -> tuple[Tensor, Tensor]:
        """Means and log variances of the posteriors, [B, Z] each."""
        mean_BZ, log_variance_BZ = self.encoder(images_BCHW, labels_B).float().chunk(2, dim=1)
        return mean_BZ, log_variance_BZ.clamp(-MAX_LOG_VARIANCE, MAX_LOG_VARIANCE)

    def decode(self, latents_BZ: Tensor, labels_B: Tensor) -> Tensor:
        images_BCHW: Tensor = self.decoder(latents_BZ, labels_B)
        return images_BCHW

    def forward(self, images_BCHW: Tensor, labels_B: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Reconstructions from a sample of the posterior, and its means and log variances."""
        mean_BZ, log_variance_BZ = self.encode(images_BCHW, labels_B)
        latents_BZ = sample_posterior(mean_BZ, log_variance_BZ)
        return self.decode(latents_BZ, labels_B), mean_BZ, log_variance_BZ

    @torch.no_grad()
    def fit_prior(self, mean_NZ: Tensor, log_variance_NZ: Tensor, labels_N: Tensor) -> None:
        """Fits each class's mean and covariance of its latents: Cov(E[z|x]) + E[Cov(z|x)]."""
        for label in labels_N.unique().tolist():
            means = mean_NZ[labels_N == label].double()
            variances_Z = log_variance_NZ[labels_N == label].double().exp().mean(dim=0)
            centred = means - means.mean(dim=0)
            covariance_ZZ = centred.T @ centred / len(means) + torch.diag(variances_Z)
            self.mean_KZ[label] = means.mean(dim=0)
            self.factor_KZZ[label] = torch.linalg.cholesky(covariance_ZZ)

    def colour(self, noise_BZ: Tensor, labels_B: Tensor) -> Tensor:
        """Maps standard normal numbers to latents of the classes."""
        latents_BZ1 = self.factor_KZZ[labels_B] @ noise_BZ.float()[:, :, None]
        return self.mean_KZ[labels_B] + latents_BZ1[:, :, 0]

    def whiten(self, latents_BZ: Tensor, labels_B: Tensor) -> Tensor:
        """The inverse of `colour`."""
        centred_BZ1 = (latents_BZ - self.mean_KZ[labels_B])[:, :, None]
        factor_BZZ = self.factor_KZZ[labels_B]
        noise_BZ1 = torch.linalg.solve_triangular(factor_BZZ, centred_BZ1, upper=False)
        return noise_BZ1[:, :, 0]

    def generate(self, noise_BZ: Tensor, labels_B: Tensor) -> Tensor:
        return self.decode(self.colour(noise_BZ, labels_B), labels_B)


def sample_posterior(mean_BZ: Tensor, log_variance_BZ: Tensor) -> Tensor:
    """μ + σ ε (Kingma and Welling 2014, eq. 4)."""
    return mean_BZ + (0.5 * log_variance_BZ).exp() * torch.randn_like(mean_BZ)


def kl_divergence(mean_BZ: Tensor, log_variance_BZ: Tensor) -> Tensor:
    """-½ Σ (1 + log σ² - μ² - σ²) of each row (Kingma and Welling 2014, appendix B)."""
    return -0.5 * (1 + log_variance_BZ - mean_BZ.square() - log_variance_BZ.exp()).sum(dim=1)


def vae_loss(
    images_BCHW: Tensor, reconstructed_BCHW: Tensor, mean_BZ: Tensor, log_variance_BZ: Tensor
) -> Tensor:
    """The negative evidence lower bound per pixel and colour: ½ log MSE + KL / (CHW), without
    constants.

    The Gaussian's optimal variance is the mean squared error (Rybkin et al. 2021, section 3).
    """
    error = (images_BCHW - reconstructed_BCHW.float()).square().mean()
    (error,) = mean_over_ranks([error], len(images_BCHW))
    divergence = kl_divergence(mean_BZ, log_variance_BZ).mean()
    return 0.5 * error.clamp_min(1e-6).log() + divergence / images_BCHW[0].numel()
