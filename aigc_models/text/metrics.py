"""Metrics of generated texts: BLEU, slot errors, diversity, duplicates."""

from collections import Counter, defaultdict
from collections.abc import Sequence

import sacrebleu

from aigc_models.text.corpus import TrainingText
from aigc_models.text.language.delexicalisation import lexicalise
from aigc_models.text.language.facts import SEAM
from aigc_models.text.language.words import word_forms
from aigc_models.text.language.written_form import write_out
from aigc_models.text.model import GeneratedText


def text_metrics(
    generated: Sequence[GeneratedText], wanted: Sequence[TrainingText], tokenised: bool
) -> dict[str, float]:
    """BLEU-4 from 0 to 1, lower-cased, and slot errors per given attribute.

    A text's references are those of all acts that are equal up to their values, filled with the
    values of its own act.
    """
    texts = [" ".join(word_forms(row.text)) for row in generated]
    num_attributes = sum(len(text.act.slots) + len(text.act.tokens) for text in wanted)
    # A seam is broken wording, not a wrong fact.
    num_errors = sum(not problem.endswith(SEAM) for row in generated for problem in row.problems)
    num_with_error = sum(bool(row.problems) for row in generated)
    return {
        "bleu": bleu(texts, filled_references(wanted, tokenised)),
        "slot_error_rate": num_errors / max(1, num_attributes),
        "texts_with_error_share": num_with_error / max(1, len(generated)),
        "distinct_1": distinct_share(texts, 1),
        "distinct_2": distinct_share(texts, 2),
        "duplicate_share": 1 - len(set(texts)) / max(1, len(texts)),
        "mean_words": sum(len(text.split()) for text in texts) / max(1, len(texts)),
    }


def filled_references(wanted: Sequence[TrainingText], tokenised: bool) -> list[list[str]]:
    """For each text the references of all acts with the same symbols, with its own values."""
    groups: dict[tuple[str, ...], list[TrainingText]] = defaultdict(list)
    for text in wanted:
        groups[text.act.symbols].append(text)
    references = []
    for text in wanted:
        values = dict(text.act.slots)
        filled = [lexicalise(other.text, values) for other in groups[text.act.symbols]]
        written = [write_out(reference) if tokenised else reference for reference in filled]
        references.append([" ".join(word_forms(reference)) for reference in written])
    return references


def bleu(texts: Sequence[str], references: Sequence[Sequence[str]]) -> float:
    """Corpus BLEU-4 (Papineni et al. 2002, section 2.3) of tokenised texts, each with one or more
    references; by sacrebleu."""
    width = max((len(row) for row in references), default=0)
    # None fills up missing references. An empty string would count as the closest length to short
    # texts, which would then escape the brevity penalty.
    streams = [[row[i] if i < len(row) else None for row in references] for i in range(width)]
    if not texts or not width:
        return 0.0
    scorer = sacrebleu.BLEU(tokenize="none", force=True)
    return float(scorer.corpus_score(list(texts), streams).score) / 100  # type: ignore[arg-type]  # it drops None


def distinct_share(texts: Sequence[str], n: int) -> float:
    """Distinct n-grams divided by all n-grams (Li et al. 2016)."""
    grams: Counter[tuple[str, ...]] = Counter()
    for text in texts:
        words = text.split()
        grams.update(zip(*(words[i:] for i in range(n)), strict=False))
    return len(grams) / max(1, grams.total())
