"""Scores a trained model on the held-out texts of other examples, so that it can be compared with a
model trained on those."""

from collections.abc import Sequence

from aigc_models.text.corpus import build_corpus
from aigc_models.text.language.acts import TextExample
from aigc_models.text.metrics import text_metrics
from aigc_models.text.model import TextModel
from aigc_models.text.training import TrainingSettings, generate_scored


def evaluate_text_model(
    model: TextModel, examples: Sequence[TextExample], settings: TrainingSettings
) -> dict[str, float]:
    """Metrics on the acts that a training with `settings` on `examples` would hold out and score.

    Counts the problems that the model's own checks find. Raises `NoExamplesError`.
    """
    corpus = build_corpus(examples, settings.validation_share)
    scored = corpus.validation[: settings.num_scored]
    return text_metrics(generate_scored(model, scored, settings), scored, corpus.is_tokenised)
