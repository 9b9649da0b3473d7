"""What a picture shows, compared by the features of a classifier (Hou et al. 2017, deep feature
consistent VAE).

Pixels alone are matched best by a blur; edges and textures count in the features of a network that
tells classes apart. Here it is the classifier of the same real pictures, so nothing is downloaded.

B batch, C colours, H height, W width.
"""

import torch
from torch import Tensor, nn

from aigc_models.images.classifier import Classifier
from aigc_models.training.data_parallel import as_of_all_rows

LEAST_ERROR = 1e-6


def perceptual_loss(classifier: Classifier, images_BCHW: Tensor, others_BCHW: Tensor) -> Tensor:
    """½ log of the mean squared error of the normalised features, mean over the classifier's
    scales: as of a Gaussian whose variance is the optimal one (Rybkin et al. 2021). The classifier
        must be in evaluation mode."""
    with torch.no_grad():
        wanted = feature_maps(classifier, images_BCHW)
    found = feature_maps(classifier, others_BCHW)
    errors = [(a.float() - b.float()).square().mean() for a, b in zip(wanted, found, strict=True)]
    errors = as_of_all_rows(errors, len(images_BCHW))
    return torch.stack([0.5 * error.clamp_min(LEAST_ERROR).log() for error in errors]).mean()


def feature_maps(classifier: Classifier, images_BCHW: Tensor) -> list[Tensor]:
    """The classifier's features [B, F, H, W] of each scale, normalised over its training
    pictures."""
    maps, x_BFHW = [], images_BCHW
    for layer in classifier.features:
        x_BFHW = layer(x_BFHW)
        if isinstance(layer, nn.BatchNorm2d):
            maps.append(x_BFHW)
    return maps
