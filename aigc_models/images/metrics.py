"""Metrics of synthetic pictures, by features of a classifier trained on the real ones.

Values are comparable only for the same real pictures and the same number of synthetic ones; the
Fréchet distance is not the Inception FID.

B synthetic and R real pictures, F features or pixels, P principal components, K classes.
"""

import math

import torch
from torch import Tensor

from aigc_models.images.classifier import Classifier, accuracy, image_features, train_classifier
from aigc_models.images.data import LabelledImages

USUAL_SHARE = 0.01
"""The share of unseen real pictures that count as near copies, which sets the limit."""
COMPARED_AT_ONCE = 64
NUM_COMPONENTS = 128
NUM_SKETCHED = 4096
"""Pictures from which the principal components are computed, at most."""
NUM_CANDIDATES = 16


def frechet_distance(first_BF: Tensor, second_RF: Tensor) -> float:
    """|μ₁ - μ₂|² + tr(Σ₁ + Σ₂ - 2 (Σ₁Σ₂)^½) (Heusel et al. 2017, eq. 6)."""
    first, second = first_BF.double(), second_RF.double()
    first_FF, second_FF = torch.cov(first.T), torch.cov(second.T)
    values, vectors = torch.linalg.eigh(first_FF)
    root_FF = vectors * values.clamp_min(0).sqrt() @ vectors.T
    # tr((Σ₁Σ₂)^½) from the symmetric Σ₁^½ Σ₂ Σ₁^½, which has the same eigenvalues.
    cross = torch.linalg.eigvalsh(root_FF @ second_FF @ root_FF).clamp_min(0).sqrt().sum()
    mean_distance = (first.mean(0) - second.mean(0)).square().sum()
    distance = mean_distance + first_FF.trace() + second_FF.trace() - 2 * cross
    return float(distance.clamp_min(0))


class Neighbours:
    """Finds the nearest of these pictures, exactly, and faster than by comparing all of them.

    A picture's sketch is its principal components and the norm of the rest. Distances between
    sketches are lower bounds of the distances between pictures. The candidates with the nearest
    sketches are compared; if the bounds of the others do not exclude them, all are compared.
    """

    def __init__(self, pictures_RF: Tensor) -> None:
        self.pictures_RF = pictures_RF.float()
        self.norms_R = self.pictures_RF.square().sum(dim=1)
        self.mean_F = self.pictures_RF.mean(dim=0)
        self.basis_FP = _principal_components(self.pictures_RF - self.mean_F)
        self.sketches_RP = self._sketches(self.pictures_RF)
        self.sketch_norms_R = self.sketches_RP.square().sum(dim=1)

    def nearest_two(self, pictures_BF: Tensor) -> Tensor:
        """Distances [B, 2] from each picture to its nearest and its second nearest."""
        batches = pictures_BF.float().split(COMPARED_AT_ONCE)
        return torch.cat([self._nearest_two(batch_BF) for batch_BF in batches])

    def ratios(self, pictures_BF: Tensor) -> Tensor:
        """Distance [B] to the nearest picture, divided by that to the second nearest."""
        distances_B2 = self.nearest_two(pictures_BF)
        return distances_B2[:, 0] / distances_B2[:, 1].clamp_min(1e-12)

    def _nearest_two(self, pictures_BF: Tensor) -> Tensor:
        sketches_BP = self._sketches(pictures_BF)
        num_candidates = min(NUM_CANDIDATES, len(self.pictures_RF))
        bounds_BN, places_BN = _smallest(
            sketches_BP, self.sketches_RP, self.sketch_norms_R, num_candidates
        )
        distances_B2 = self._smallest_distances(pictures_BF, places_BN)
        if num_candidates < len(self.pictures_RF):
            is_undecided_B = distances_B2[:, 1] > bounds_BN[:, -1]
            undecided_UF = pictures_BF[is_undecided_B]
            _, places_U2 = _smallest(undecided_UF, self.pictures_RF, self.norms_R, 2)
            distances_B2[is_undecided_B] = self._smallest_distances(undecided_UF, places_U2)
        return distances_B2

    def _sketches(self, pictures_BF: Tensor) -> Tensor:
        """The principal components and the norm of the rest."""
        centred_BF = pictures_BF - self.mean_F
        components_BP = centred_BF @ self.basis_FP
        rest_B = centred_BF.square().sum(dim=1) - components_BP.square().sum(dim=1)
        return torch.cat([components_BP, rest_B.clamp_min(0).sqrt()[:, None]], dim=1)

    def _smallest_distances(self, pictures_BF: Tensor, places_BN: Tensor) -> Tensor:
        """The two smallest distances [B, 2] to the given candidates."""
        differences_BNF = self.pictures_RF[places_BN] - pictures_BF[:, None]
        distances_BN = differences_BNF.square().sum(dim=2).sqrt()
        return distances_BN.topk(2, largest=False).values


def _principal_components(centred_RF: Tensor) -> Tensor:
    """An orthonormal basis [F, P] of approximately the directions in which pictures vary most."""
    stride = math.ceil(len(centred_RF) / NUM_SKETCHED)
    some_SF = centred_RF[::stride].cpu()
    with torch.random.fork_rng(devices=[]):  # the method draws random numbers
        torch.manual_seed(0)
        _, _, basis_FP = torch.svd_lowrank(some_SF, min(NUM_COMPONENTS, *some_SF.shape), niter=1)
    return basis_FP.to(centred_RF.device)


def _smallest(
    first_BF: Tensor, second_RF: Tensor, norms_R: Tensor, num: int
) -> tuple[Tensor, Tensor]:
    """The `num` smallest distances [B, N] in rising order and their places; less precise than
    differences would be."""
    # |x - y|² = |x|² + |y|² - 2 xy; |x|² does not change the order, so it is added afterwards.
    partial_BR = torch.addmm(norms_R, first_BF, second_RF.T, alpha=-2)
    partial_BN, places_BN = partial_BR.topk(num, largest=False)
    squares_BN = partial_BN + first_BF.square().sum(dim=1, keepdim=True)
    return squares_BN.clamp_min(0).sqrt(), places_BN


def nearest_two(pictures_BF: Tensor, others_RF: Tensor) -> Tensor:
    """Distances [B, 2] from each picture to its nearest and its second nearest other."""
    return Neighbours(others_RF).nearest_two(pictures_BF)


def near_copy_ratios(images_BHWC: Tensor, training_RHWC: Tensor) -> Tensor:
    """Distance [B] to the nearest training picture, divided by that to the second nearest.

    Near 0 for copies, near 1 for pictures with several similar training pictures.
    """
    return Neighbours(training_RHWC.flatten(1) / 255.0).ratios(images_BHWC.flatten(1) / 255.0)


def near_copy_share(
    synthetic: LabelledImages, training: LabelledImages, held_out: LabelledImages
) -> float:
    """The share of pictures that are nearer to a training picture, by ratio of distances, than all
    but 1 % of held-out real ones."""
    held_out_ratios = near_copy_ratios(held_out.images_BHWC, training.images_BHWC)
    limit = held_out_ratios.double().quantile(USUAL_SHARE)
    ratios = near_copy_ratios(synthetic.images_BHWC, training.images_BHWC)
    return float((ratios < limit).double().mean())


def near_in_features_share(synthetic_BF: Tensor, training_RF: Tensor, held_out_RF: Tensor) -> float:
    """As `near_copy_share`, but by distance of features.

    This also rises for blurred, average pictures; only if both rise are there copies.
    """
    limit = nearest_two(held_out_RF, training_RF)[:, 0].double().quantile(USUAL_SHARE)
    return float((nearest_two(synthetic_BF, training_RF)[:, 0] < limit).double().mean())


def diversity(
    synthetic_BF: Tensor, labels_B: Tensor, real_RF: Tensor, real_labels_R: Tensor
) -> dict[str, float]:
    """Mean distance of features between pictures of a class, relative to real ones: the mean and
    the minimum over classes."""
    ratios = []
    for label in real_labels_R.unique().tolist():
        synthetic, real = synthetic_BF[labels_B == label], real_RF[real_labels_R == label]
        if len(synthetic) > 1 and len(real) > 1:
            real_distance = torch.pdist(real).mean().clamp_min(1e-12)
            ratios.append(float(torch.pdist(synthetic).mean() / real_distance))
    if not ratios:
        return {}
    return {"diversity": sum(ratios) / len(ratios), "lowest_diversity": min(ratios)}


def duplicate_share(images_BHWC: Tensor) -> float:
    return 1 - len(images_BHWC.flatten(1).unique(dim=0)) / len(images_BHWC)


def image_metrics(
    synthetic: LabelledImages,
    training: LabelledImages,
    held_out: LabelledImages,
    classifier: Classifier,
    *,
    steps: int = 400,
    flip: bool = False,
) -> dict[str, float]:
    """All metrics of synthetic pictures, with those of real ones for comparison.

    The classifier must have been trained on `training` only, with the same `steps` and `flip`. CAS
    is the classification accuracy score (Ravuri and Vinyals 2019).
    """
    made_BF = image_features(classifier, synthetic.images_BHWC)
    real_RF = image_features(classifier, training.images_BHWC)
    held_out_RF = image_features(classifier, held_out.images_BHWC)
    num_classes = classifier.head.out_features
    device = str(next(classifier.parameters()).device)
    of_synthetic = train_classifier([synthetic], num_classes, steps=steps, flip=flip, device=device)
    return {
        "fcd": frechet_distance(made_BF, held_out_RF),
        "fcd_floor": frechet_distance(real_RF, held_out_RF),
        "cas": accuracy(of_synthetic, held_out),
        "cas_real": accuracy(classifier, held_out),
        "near_copy_share": near_copy_share(synthetic, training, held_out),
        "near_in_features_share": near_in_features_share(made_BF, real_RF, held_out_RF),
        "duplicate_share": duplicate_share(synthetic.images_BHWC),
        **diversity(made_BF, synthetic.labels_B, held_out_RF, held_out.labels_B),
    }


def augmentation_gain(
    few: LabelledImages,
    synthetic: LabelledImages,
    test: LabelledImages,
    num_classes: int,
    *,
    num_seeds: int = 3,
    steps: int = 200,
) -> dict[str, float]:
    """Accuracy on `test` of classifiers trained on few real pictures, with and without synthetic
    ones and shifts.

    Only meaningful if the generator of the synthetic pictures was trained on `few` alone.
    """
    arms = {
        "real": ([few], False),
        "real_classic": ([few], True),
        "real_synthetic": ([few, synthetic], False),
        "real_classic_synthetic": ([few, synthetic], True),
    }
    scores = {}
    for name, (parts, augment) in arms.items():
        accuracies = []
        for seed in range(num_seeds):
            classifier = train_classifier(
                parts, num_classes, steps=steps, augment=augment, seed=seed
            )
            accuracies.append(accuracy(classifier, test))
        scores[name] = sum(accuracies) / num_seeds
    return {
        **scores,
        "gain": scores["real_synthetic"] - scores["real"],
        "gain_over_classic": scores["real_classic_synthetic"] - scores["real_classic"],
    }
