"""Compares what pictures show, by the features of a classifier (Hou et al. 2017, deep feature
consistent VAE).

A loss of pixels alone prefers a blur; the features of a classifier depend on edges and textures.
This is the classifier of the same real pictures, so nothing needs to be downloaded.

B batch, C colours, F features, H height, W width.
"""

import torch
from torch import Tensor, nn

from aigc_models.images.classifier import Classifier
from aigc_models.training.data_parallel import mean_over_ranks

LEAST_ERROR = 1e-6


def perceptual_loss(classifier: Classifier, images_BCHW: Tensor, others_BCHW: Tensor) -> Tensor:
    """½ log of the mean squared error of the normalised features, averaged over the scales.

    This is the likelihood of a Gaussian with the optimal variance (Rybkin et al. 2021). The
    classifier must be in evaluation mode. Only the other pictures get gradients.
    """
    with torch.no_grad():
        target_maps = feature_maps(classifier, images_BCHW)
    other_maps = feature_maps(classifier, others_BCHW)
    errors = [
        (target.float() - other.float()).square().mean()
        for target, other in zip(target_maps, other_maps, strict=True)
    ]
    errors = mean_over_ranks(errors, len(images_BCHW))
    return torch.stack([0.5 * error.clamp_min(LEAST_ERROR).log() for error in errors]).mean()


def feature_maps(classifier: Classifier, images_BCHW: Tensor) -> list[Tensor]:
    """The classifier's features [B, F, H, W] at each scale, normalised over its training
    pictures."""
    maps, x_BFHW = [], images_BCHW
    for layer in classifier.features:
        x_BFHW = layer(x_BFHW)
        if isinstance(layer, nn.BatchNorm2d):
            maps.append(x_BFHW)
    return maps
