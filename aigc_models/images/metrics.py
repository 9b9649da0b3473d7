"""How good synthetic pictures are, by features of a classifier that was trained on the real ones.

Comparable only for one set of real pictures and one number of synthetic ones: no Inception FID.

B synthetic and R real pictures, F features or pixels, P principal components, K classes.
"""

import torch
from torch import Tensor

from aigc_models.images.classifier import Classifier, accuracy, image_features, train_classifier
from aigc_models.images.data import LabelledImages

USUAL_SHARE = 0.01
"""Of real pictures that training never saw: so many are called near copies, too."""
COMPARED_AT_ONCE = 64
NUM_COMPONENTS = 128
NUM_SKETCHED = 4096
"""Pictures that the principal components are found from."""
NUM_CANDIDATES = 16


def frechet_distance(first_BF: Tensor, second_RF: Tensor) -> float:
    """|μ₁ - μ₂|² + tr(Σ₁ + Σ₂ - 2 (Σ₁Σ₂)^½) (Heusel et al. 2017, eq. 6)."""
    first, second = first_BF.double(), second_RF.double()
    first_FF, second_FF = torch.cov(first.T), torch.cov(second.T)
    values, vectors = torch.linalg.eigh(first_FF)
    root_FF = vectors * values.clamp_min(0).sqrt() @ vectors.T
    # tr((Σ₁Σ₂)^½) from the symmetric Σ₁^½ Σ₂ Σ₁^½, which has the same eigenvalues.
    cross = torch.linalg.eigvalsh(root_FF @ second_FF @ root_FF).clamp_min(0).sqrt().sum()
    distance = (
        (first.mean(0) - second.mean(0)).square().sum()
        + first_FF.trace()
        + second_FF.trace()
        - 2 * cross
    )
    return float(distance.clamp_min(0))


class Neighbours:
    """Pictures among which the nearest are looked for.

    First in their principal components and the length of what those leave out: distances there are
    never more than the whole ones. Where that leaves it open which are the nearest, all are
    compared, so that none is ever missed.
    """

    def __init__(self, pictures_RF: Tensor) -> None:
        self.pictures_RF = pictures_RF.float()
        self.norms_R = self.pictures_RF.square().sum(dim=1)
        self.mean_F = self.pictures_RF.mean(dim=0)
        self.basis_FP = _principal_components(self.pictures_RF - self.mean_F)
        self.sketches_RP = self._sketches(self.pictures_RF)
        self.sketch_norms_R = self.sketches_RP.square().sum(dim=1)

    def nearest_two(self, pictures_BF: Tensor) -> Tensor:
        """Distances [B, 2] from each picture to its nearest and its second nearest one."""
        return torch.cat(
            [self._nearest_two(batch) for batch in pictures_BF.float().split(COMPARED_AT_ONCE)]
        )

    def _nearest_two(self, pictures_BF: Tensor) -> Tensor:
        sketches_BP = self._sketches(pictures_BF)
        num_candidates = min(NUM_CANDIDATES, len(self.pictures_RF))
        bounds_BN, places_BN = _smallest(
            sketches_BP, self.sketches_RP, self.sketch_norms_R, num_candidates
        )
        distances_B2 = self._smallest_distances(pictures_BF, places_BN)
        if num_candidates < len(self.pictures_RF):
            is_open_B = distances_B2[:, 1] > bounds_BN[:, -1]
            undecided_UF = pictures_BF[is_open_B]
            _, places_U2 = _smallest(undecided_UF, self.pictures_RF, self.norms_R, 2)
            distances_B2[is_open_B] = self._smallest_distances(undecided_UF, places_U2)
        return distances_B2

    def _sketches(self, pictures_BF: Tensor) -> Tensor:
        """Principal components, and the length of the rest."""
        centred_BF = pictures_BF - self.mean_F
        components_BP = centred_BF @ self.basis_FP
        rest_B = centred_BF.square().sum(dim=1) - components_BP.square().sum(dim=1)
        return torch.cat([components_BP, rest_B.clamp_min(0).sqrt()[:, None]], dim=1)

    def _smallest_distances(self, pictures_BF: Tensor, places_BN: Tensor) -> Tensor:
        distances_BN = (
            (self.pictures_RF[places_BN] - pictures_BF[:, None]).square().sum(dim=2).sqrt()
        )
        return distances_BN.topk(2, largest=False).values

    def ratios(self, pictures_BF: Tensor) -> Tensor:
        """Distance [B] to the nearest picture over that to the second nearest."""
        distances_B2 = self.nearest_two(pictures_BF)
        return distances_B2[:, 0] / distances_B2[:, 1].clamp_min(1e-12)


def _principal_components(centred_RF: Tensor) -> Tensor:
    """An orthonormal basis [F, P] of about the directions in which a part of the pictures vary
    most."""
    some_SF = centred_RF[:: -(-len(centred_RF) // NUM_SKETCHED)].cpu()
    with torch.random.fork_rng(devices=[]):  # the method is a random one
        torch.manual_seed(0)
        _, _, basis_FP = torch.svd_lowrank(some_SF, min(NUM_COMPONENTS, *some_SF.shape), niter=1)
    return basis_FP.to(centred_RF.device)


def _smallest(
    first_BF: Tensor, second_RF: Tensor, norms_R: Tensor, num: int
) -> tuple[Tensor, Tensor]:
    """The `num` smallest distances [B, N] in growing order, and to which they are; their last bits
    are lost."""
    # |x - y|² = |x|² + |y|² - 2 xy; what |x|² adds does not change the order.
    partial_BR = torch.addmm(norms_R, first_BF, second_RF.T, alpha=-2)
    partial_BN, places_BN = partial_BR.topk(num, largest=False)
    return (partial_BN + first_BF.square().sum(dim=1, keepdim=True)).clamp_min(0).sqrt(), places_BN


def nearest_two(pictures_BF: Tensor, others_RF: Tensor) -> Tensor:
    """Distances [B, 2] from each picture to its nearest and its second nearest other."""
    return Neighbours(others_RF).nearest_two(pictures_BF)


def near_copy_ratios(images_BHWC: Tensor, training_RHWC: Tensor) -> Tensor:
    """Distance in pixels [B] to the nearest training picture over that to the second nearest: near
    0 for copies, near 1 for pictures of which training has several alike."""
    return Neighbours(training_RHWC.flatten(1) / 255.0).ratios(images_BHWC.flatten(1) / 255.0)


def near_copy_share(
    synthetic: LabelledImages, training: LabelledImages, held_out: LabelledImages
) -> float:
    """Share of pictures nearer to a training picture, by ratio of distances, than all but 1 % of
    held-out real ones."""
    limit = (
        near_copy_ratios(held_out.images_BHWC, training.images_BHWC).double().quantile(USUAL_SHARE)
    )
    return float(
        (near_copy_ratios(synthetic.images_BHWC, training.images_BHWC) < limit).double().mean()
    )


def near_in_features_share(synthetic_BF: Tensor, training_RF: Tensor, held_out_RF: Tensor) -> float:
    """As `near_copy_share`, by distance of features. Rises for blurred, average pictures too: only
    where both rise are there copies."""
    limit = nearest_two(held_out_RF, training_RF)[:, 0].double().quantile(USUAL_SHARE)
    return float((nearest_two(synthetic_BF, training_RF)[:, 0] < limit).double().mean())


def diversity(
    synthetic_BF: Tensor, labels_B: Tensor, real_RF: Tensor, real_labels_R: Tensor
) -> dict[str, float]:
    """Mean distance of features between pictures of a class, relative to real ones: the mean over
    classes, and the lowest."""
    ratios = []
    for label in real_labels_R.unique().tolist():
        synthetic, real = synthetic_BF[labels_B == label], real_RF[real_labels_R == label]
        if len(synthetic) > 1 and len(real) > 1:
            ratios.append(
                float(torch.pdist(synthetic).mean() / torch.pdist(real).mean().clamp_min(1e-12))
            )
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
    """Figures of synthetic pictures beside those of real ones; the classifier was trained on
    `training` alone, with as many `steps` and the same `flip`. CAS is the classification accuracy
    score (Ravuri and Vinyals 2019)."""
    made_BF, real_RF, held_out_RF = (
        image_features(classifier, data.images_BHWC) for data in (synthetic, training, held_out)
    )
    num_classes, device = classifier.head.out_features, str(next(classifier.parameters()).device)
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
    ones and shifts. Honest only if the generator of the synthetic ones saw nothing but `few`."""
    arms = {
        "real": ([few], False),
        "real_classic": ([few], True),
        "real_synthetic": ([few, synthetic], False),
        "real_classic_synthetic": ([few, synthetic], True),
    }
    scores = {}
    for name, (parts, augment) in arms.items():
        runs = [
            accuracy(
                train_classifier(parts, num_classes, steps=steps, augment=augment, seed=seed), test
            )
            for seed in range(num_seeds)
        ]
        scores[name] = sum(runs) / num_seeds
    return {
        **scores,
        "gain": scores["real_synthetic"] - scores["real"],
        "gain_over_classic": scores["real_classic_synthetic"] - scores["real_classic"],
    }
