"""Learns to hear facts that have no fixed wording: does a text say "not for children", or nothing
of the kind?

One logistic regression per value symbol over the words and word pairs of the delexicalised
references. It is fitted to the corpus alone, so it works in any domain and language that the corpus
is written in.

B texts, F features a text (padded), L labels.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from aigc_models.text.language.acts import Segments
from aigc_models.text.language.wording import words_of

MIN_FEATURE_COUNT = 3
MIN_LABEL_COUNT = 5
"""A value with fewer examples cannot be checked."""
MAX_FEATURES = 20_000
NUM_ITERATIONS = 40
L2 = 1e-3


class ExpressionDetector:
    """Probabilities that a text expresses each label. `weights_FL` has a row per feature, and row 0
    is padding."""

    def __init__(
        self, features: Sequence[str], labels: Sequence[str], weights_FL: Tensor, bias_L: Tensor
    ) -> None:
        self.features = tuple(features)
        self.labels = tuple(labels)
        self.index = {feature: row for row, feature in enumerate(self.features, start=1)}
        self.weights_FL, self.bias_L = weights_FL, bias_L

    @torch.no_grad()
    def probabilities(self, texts: Sequence[Segments]) -> list[dict[str, float]]:
        if not self.labels or not texts:
            return [{} for _ in texts]
        rows_BF = padded([self.rows(text) for text in texts])
        logits_BL = (
            F.embedding_bag(rows_BF, self.weights_FL, mode="sum", padding_idx=0) + self.bias_L
        )
        return [
            dict(zip(self.labels, row, strict=True)) for row in torch.sigmoid(logits_BL).tolist()
        ]

    def rows(self, text: Segments) -> list[int]:
        return [self.index[feature] for feature in text_features(text) if feature in self.index]

    def tensors(self) -> dict[str, Tensor]:
        return {"detector.weights": self.weights_FL, "detector.bias": self.bias_L}

    def to_json(self) -> dict[str, Any]:
        return {"features": list(self.features), "labels": list(self.labels)}

    @classmethod
    def from_parts(
        cls, data: Mapping[str, Any], tensors: Mapping[str, Tensor]
    ) -> "ExpressionDetector":
        return cls(
            data["features"], data["labels"], tensors["detector.weights"], tensors["detector.bias"]
        )


def fit_detector(texts: Sequence[Segments], labels: Sequence[Sequence[str]]) -> ExpressionDetector:
    """Fits by L-BFGS on all texts: convex and deterministic, a few seconds for ten thousand
    texts."""
    label_counts = Counter(label for row in labels for label in set(row))
    names = sorted(label for label, count in label_counts.items() if count >= MIN_LABEL_COUNT)
    features_of = [text_features(text) for text in texts]
    counts = Counter(feature for row in features_of for feature in row)
    kept = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))[:MAX_FEATURES]
    features = [feature for feature, count in kept if count >= MIN_FEATURE_COUNT]
    weights_FL = torch.zeros(len(features) + 1, max(1, len(names)))
    detector = ExpressionDetector(features, names, weights_FL, torch.zeros(max(1, len(names))))
    if names:
        rows_BF = padded(
            [[detector.index[f] for f in row if f in detector.index] for row in features_of]
        )
        targets_BL = torch.tensor([[float(name in row) for name in names] for row in labels])
        optimise(detector, rows_BF, targets_BL)
    return detector


def optimise(detector: ExpressionDetector, rows_BF: Tensor, targets_BL: Tensor) -> None:
    weights_FL = detector.weights_FL.requires_grad_()
    bias_L = detector.bias_L.requires_grad_()
    optimiser = torch.optim.LBFGS(
        [weights_FL, bias_L], max_iter=NUM_ITERATIONS, line_search_fn="strong_wolfe"
    )

    def loss() -> Tensor:
        optimiser.zero_grad()
        logits_BL = F.embedding_bag(rows_BF, weights_FL, mode="sum", padding_idx=0) + bias_L
        value = F.binary_cross_entropy_with_logits(logits_BL, targets_BL, reduction="sum") / len(
            rows_BF
        )
        value = value + L2 * weights_FL.square().sum() / 2
        value.backward()
        return value

    optimiser.step(loss)
    detector.weights_FL, detector.bias_L = weights_FL.detach(), bias_L.detach()


def text_features(text: Segments) -> list[str]:
    """Distinct words and pairs of neighbours; a slot counts as a word."""
    words = words_of(text)[1:-1]
    pairs = [f"{first} {second}" for first, second in pairwise(words)]
    return list(dict.fromkeys(words + pairs))


def padded(rows: Sequence[Sequence[int]]) -> Tensor:
    width = max(1, max((len(row) for row in rows), default=1))
    return torch.tensor([list(row) + [0] * (width - len(row)) for row in rows], dtype=torch.int64)
