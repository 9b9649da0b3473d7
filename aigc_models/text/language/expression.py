"""Detects facts without fixed wording: does a text say, in any words, "not for children"?

One logistic regression for each value symbol, over the words and word pairs of the delexicalised
references. It is fitted only to the corpus, so it needs no knowledge of a domain or language.

B texts, F features of a text (padded), L labels.
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
    """Gives the probability that a text expresses each label. `weights_FL` has a row for each
    feature, after row 0 for padding."""

    def __init__(
        self, features: Sequence[str], labels: Sequence[str], weights_FL: Tensor, bias_L: Tensor
    ) -> None:
        self.features = tuple(features)
        self.labels = tuple(labels)
        self.index = {feature: row for row, feature in enumerate(self.features, start=1)}
        self.weights_FL, self.bias_L = weights_FL, bias_L

    @torch.no_grad()
    def probabilities(self, texts: Sequence[Segments]) -> list[dict[str, float]]:
        """One dict of labels for each text."""
        if not self.labels or not texts:
            return [{} for _ in texts]
        rows_BF = padded([self.rows(text_features(text)) for text in texts])
        logits_BL = logits(rows_BF, self.weights_FL, self.bias_L)
        rows = torch.sigmoid(logits_BL).tolist()
        return [dict(zip(self.labels, row, strict=True)) for row in rows]

    def rows(self, features: Sequence[str]) -> list[int]:
        """The rows of the features that training had often enough."""
        return [self.index[feature] for feature in features if feature in self.index]

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
    """Fits by L-BFGS on all texts at once: a convex and deterministic problem, which takes a few
    seconds for ten thousand texts."""
    label_counts = Counter(label for row in labels for label in set(row))
    names = sorted(label for label, count in label_counts.items() if count >= MIN_LABEL_COUNT)
    features_of = [text_features(text) for text in texts]
    counts = Counter(feature for row in features_of for feature in row)
    kept = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))[:MAX_FEATURES]
    features = [feature for feature, count in kept if count >= MIN_FEATURE_COUNT]
    # At least one column, so that stored tensors are never empty.
    num_columns = max(1, len(names))
    weights_FL = torch.zeros(len(features) + 1, num_columns)
    detector = ExpressionDetector(features, names, weights_FL, torch.zeros(num_columns))
    if names:
        rows_BF = padded([detector.rows(row) for row in features_of])
        targets_BL = torch.tensor([[float(name in row) for name in names] for row in labels])
        optimise(detector, rows_BF, targets_BL)
    return detector


def optimise(detector: ExpressionDetector, rows_BF: Tensor, targets_BL: Tensor) -> None:
    """Minimises the mean cross-entropy of a text, summed over labels, plus L2 · |W|² / 2."""
    weights_FL = detector.weights_FL.requires_grad_()
    bias_L = detector.bias_L.requires_grad_()
    optimiser = torch.optim.LBFGS(
        [weights_FL, bias_L], max_iter=NUM_ITERATIONS, line_search_fn="strong_wolfe"
    )

    def loss() -> Tensor:
        optimiser.zero_grad()
        logits_BL = logits(rows_BF, weights_FL, bias_L)
        total = F.binary_cross_entropy_with_logits(logits_BL, targets_BL, reduction="sum")
        value = total / len(rows_BF) + L2 * weights_FL.square().sum() / 2
        value.backward()
        return value

    optimiser.step(loss)
    detector.weights_FL, detector.bias_L = weights_FL.detach(), bias_L.detach()


def logits(rows_BF: Tensor, weights_FL: Tensor, bias_L: Tensor) -> Tensor:
    """[B, L]: the summed weights of each text's features, plus the bias."""
    return F.embedding_bag(rows_BF, weights_FL, mode="sum", padding_idx=0) + bias_L


def text_features(text: Segments) -> list[str]:
    """The different words and pairs of neighbours; a slot counts as a word."""
    words = words_of(text)[1:-1]
    pairs = [f"{first} {second}" for first, second in pairwise(words)]
    return list(dict.fromkeys(words + pairs))


def padded(rows: Sequence[Sequence[int]]) -> Tensor:
    """One int64 tensor, filled up with zeros on the right."""
    width = max(1, max((len(row) for row in rows), default=1))
    return torch.tensor([list(row) + [0] * (width - len(row)) for row in rows], dtype=torch.int64)
