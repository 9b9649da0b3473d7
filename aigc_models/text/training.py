"""Trains a text model on examples and writes its checkpoint folder.

Knows nothing about where examples come from or where the folder goes.
"""

import shutil
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from aigc_models.checkpoint import CONFIG, METRICS, TOKENIZER, WEIGHTS, write_json, write_tensors
from aigc_models.device import resolve_device, to_device
from aigc_models.seeds import derive_seed
from aigc_models.text.corpus import Corpus, TrainingText, build_corpus
from aigc_models.text.families import TextNetwork, build_network, network_options
from aigc_models.text.language.acts import TextExample
from aigc_models.text.language.delexicalisation import lexicalise
from aigc_models.text.language.schema import CONTINUED, EQUALS, intent_symbol, value_label
from aigc_models.text.markers import learn_markers
from aigc_models.text.metrics import text_metrics
from aigc_models.text.model import GeneratedText, Sampling, TextModel, left_padded
from aigc_models.text.settings import TrainingSettings, default_settings
from aigc_models.text.tokenizer import TextTokenizer
from aigc_models.training.batching import BatchSchedule, in_batches
from aigc_models.training.data_parallel import is_first
from aigc_models.training.loop import LoopResult, TrainingLoop
from aigc_models.training.settings import TrainingProgress
from aigc_models.training.step import Task

__all__ = ["TrainingProgress", "TrainingSettings", "default_settings", "train_text_model"]

IGNORED = -100
"""Target of positions without a token to learn."""
NUM_SAMPLES = 20
EncodedText = tuple[list[int], list[int]]
"""The tokens of a prefix and of its text, without the end."""


@dataclass(frozen=True, slots=True)
class Batch:
    prefix_BP: Tensor
    text_BT: Tensor
    targets_BT: Tensor
    """One position longer than the text; IGNORED after the end."""
    num_tokens_B: Tensor
    """Targets of each text. Stays on the CPU, where counting does not wait for a GPU."""


def train_text_model(
    examples: Sequence[TextExample],
    folder: Path,
    *,
    settings: TrainingSettings,
    work_dir: Path,
    on_progress: Callable[[TrainingProgress], None] | None = None,
    on_checkpoint: Callable[[Path], None] | None = None,
) -> dict[str, float]:
    """Writes a complete checkpoint folder and returns its metrics. With several processes only the
    first one writes; the others return an empty dict.

    Resumes from `work_dir` if it holds the state of an interrupted training on the same examples
    and settings. `on_checkpoint` gets each state file once it is written. Raises `NoExamplesError`.
    """
    torch.set_num_threads(settings.num_threads)
    corpus = build_corpus(examples, settings.validation_share)
    tokenizer = build_tokenizer(corpus, settings)
    torch.manual_seed(settings.seed)
    device = resolve_device(settings.device)
    network = build_text_network(corpus, tokenizer, settings).to(device)
    task = text_task(corpus, tokenizer, settings, device)
    result = TrainingLoop(network, task, settings, work_dir, on_progress, on_checkpoint).run()
    if not is_first():
        return {}
    model = TextModel(network.eval(), tokenizer, corpus.schema, corpus.checker, corpus.is_tokenised)
    scored = corpus.validation[: settings.num_scored]
    generated = generate_scored(model, scored, settings)
    metrics = {
        **text_metrics(generated, scored, corpus.is_tokenised),
        **loop_metrics(result, network),
        "num_examples": float(len(examples)),
        "num_dropped_examples": float(corpus.num_dropped),
        "num_training_texts": float(len(corpus.training)),
        "num_validation_texts": float(len(corpus.validation)),
    }
    folder.mkdir(parents=True, exist_ok=True)
    write_model(folder, model, settings)
    write_json(folder / METRICS, metrics)
    write_json(folder / "samples.json", samples(generated, scored))
    shutil.copytree(work_dir / "tensorboard", folder / "tensorboard", dirs_exist_ok=True)
    return metrics


def build_text_network(
    corpus: Corpus, tokenizer: TextTokenizer, settings: TrainingSettings
) -> TextNetwork:
    """A network with fresh weights from torch's global random state."""
    links = tokenizer.links()
    num_parts = 1 + max((part for _, part in links), default=-1)
    sizes = {"vocab_size": tokenizer.vocab_size, "num_parts": num_parts, "num_links": len(links)}
    ends = {"pad_id": tokenizer.pad_id, "end_id": tokenizer.eos_id}
    network = build_network(settings.family, settings.network_options() | sizes | ends)
    network.embedding.link(links)
    facts = tokenizer.facts(corpus_markers(corpus, tokenizer))
    network.coverage.set_facts(facts, tokenizer.slot_of)
    return network


def corpus_markers(corpus: Corpus, tokenizer: TextTokenizer) -> dict[int, str]:
    """Literal tokens that mark values without fixed wording, and the keys of those values."""
    texts = [set(tokenizer.encode(text.text)) - tokenizer.symbol_ids for text in corpus.training]
    keys = [
        [value_label(token).split(EQUALS)[0] for token in text.act.tokens]
        for text in corpus.training
    ]
    return learn_markers([sorted(text) for text in texts], keys)


def build_tokenizer(corpus: Corpus, settings: TrainingSettings) -> TextTokenizer:
    symbols = [
        CONTINUED,
        *map(intent_symbol, sorted(corpus.schema.intents)),
        *corpus.schema.value_symbols(),
    ]
    texts = [text.text for text in corpus.training]
    return TextTokenizer.train(texts, symbols, corpus.schema.slots(), settings.vocab_size)


def text_task(
    corpus: Corpus, tokenizer: TextTokenizer, settings: TrainingSettings, device: torch.device
) -> Task:
    encoded = encode(with_repeats(corpus.training, settings.max_repeats), tokenizer)
    held_out = encode(corpus.validation, tokenizer)
    schedule = BatchSchedule(lengths(encoded), settings.batch_tokens, settings.seed)
    validation = [
        collate([held_out[i] for i in rows], tokenizer, device)
        for rows in in_batches(lengths(held_out), settings.batch_tokens)
    ]

    def loss(network: nn.Module, batch: Batch) -> tuple[Tensor, int]:
        logits_BTV = network(batch.prefix_BP, batch.text_BT)
        value = F.cross_entropy(
            logits_BTV.flatten(0, 1).float(),
            batch.targets_BT.flatten(),
            ignore_index=IGNORED,
            label_smoothing=settings.label_smoothing if network.training else 0.0,
        )
        return value, sum(batch.num_tokens_B.tolist())

    def validate(network: nn.Module) -> float:
        losses = [loss(network, batch) for batch in validation]
        num_tokens = sum(count for _, count in losses)
        return sum(float(value) * count for value, count in losses) / num_tokens

    def batch_at(step: int) -> Batch:
        return collate([encoded[i] for i in schedule.rows_at(step)], tokenizer, device)

    return Task(batch_at=batch_at, loss=loss, validate=validate)


def with_repeats(texts: Sequence[TrainingText], max_repeats: int) -> list[TrainingText]:
    """Repeats the texts of an intent sqrt(n_max / n) times: n is its number of texts, n_max that of
    the most frequent intent."""
    counts = Counter(text.request.intent for text in texts)
    most = max(counts.values())
    repeated = []
    for text in texts:
        num_repeats = round((most / counts[text.request.intent]) ** 0.5)
        repeated += [text] * min(max_repeats, num_repeats)
    return repeated


def encode(texts: Sequence[TrainingText], tokenizer: TextTokenizer) -> list[EncodedText]:
    return [(tokenizer.prefix(text.act), tokenizer.encode(text.text)) for text in texts]


def lengths(encoded: Sequence[EncodedText]) -> list[tuple[int, int]]:
    """The lengths of prefix and text, the end included."""
    return [(len(prefix), len(text) + 1) for prefix, text in encoded]


def collate(rows: Sequence[EncodedText], tokenizer: TextTokenizer, device: torch.device) -> Batch:
    """Pads prefixes on the left and texts on the right."""
    width = max(len(text) for _, text in rows)
    prefix_BP = left_padded([prefix for prefix, _ in rows], tokenizer.pad_id)
    text_BT = torch.tensor([text + [tokenizer.pad_id] * (width - len(text)) for _, text in rows])
    targets_BT = torch.tensor(
        [text + [tokenizer.eos_id] + [IGNORED] * (width - len(text)) for _, text in rows]
    )
    num_tokens_B = torch.tensor([len(text) + 1 for _, text in rows])
    return Batch(
        to_device(prefix_BP, device),
        to_device(text_BT, device),
        to_device(targets_BT, device),
        num_tokens_B,
    )


def generate_scored(
    model: TextModel, scored: Sequence[TrainingText], settings: TrainingSettings
) -> list[GeneratedText]:
    seeds = [derive_seed(settings.seed, i) for i in range(len(scored))]
    return model.generate([text.request for text in scored], seeds, Sampling())


def loop_metrics(result: LoopResult, network: nn.Module) -> dict[str, float]:
    return {
        "val_loss": result.val_loss,
        "steps": float(result.steps),
        "cpu_seconds": result.cpu_seconds,
        "wall_seconds": result.wall_seconds,
        "tokens_per_s": result.tokens_per_s,
        "num_parameters": float(sum(p.numel() for p in network.parameters())),
    }


def write_model(folder: Path, model: TextModel, settings: TrainingSettings) -> None:
    tensors = {f"network.{name}": tensor for name, tensor in model.network.state_dict().items()}
    write_tensors(folder / WEIGHTS, tensors | model.checker.tensors())
    model.tokenizer.save(folder / TOKENIZER)
    config = {
        "family": settings.family,
        "network": network_options(model.network),
        "is_tokenised": model.is_tokenised,
        "schema": model.schema.to_json(),
        "facts": model.checker.to_json(),
        "settings": asdict(settings),
    }
    write_json(folder / CONFIG, config)


def samples(
    generated: Sequence[GeneratedText], scored: Sequence[TrainingText]
) -> list[dict[str, Any]]:
    """The first texts beside their references."""
    pairs = list(zip(generated, scored, strict=True))
    return [
        {
            "intent": wanted.request.intent,
            "attributes": [list(pair) for pair in wanted.request.attributes],
            "text": row.text,
            "problems": list(row.problems),
            "reference": lexicalise(wanted.text, dict(wanted.act.slots)),
        }
        for row, wanted in pairs[:NUM_SAMPLES]
    ]
