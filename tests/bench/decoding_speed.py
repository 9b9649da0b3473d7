"""Compares our decoding with Hugging Face `generate`, and with the arithmetic bound of the machine.

    python -m tests.bench.decoding_speed [--train A.parquet] [--rows 512] [--rounds 3]
                                         [--train-s 60]

Trains a GPT of the default size, without the coverage that only our networks have, copies its
weights into transformers' Llama and checks that both give the same logits. Both then draw eight
candidates for each of the same acts, in turns, on one thread, in the environment of an actor.
Hugging Face gets its fastest batch size. Without `--train`, the texts are those of the sample shop.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor
from transformers import LlamaForCausalLM

from aigc_models.text.corpus import build_corpus
from aigc_models.text.decoding import Candidate, decode
from aigc_models.text.model import BATCH_SEQUENCES, left_padded
from aigc_models.text.networks.gpt import GPT, GPTConfig
from aigc_models.text.sampling import Sampling
from aigc_models.text.tokenizer import TextTokenizer
from aigc_models.text.training import build_tokenizer, default_settings, text_task
from aigc_models.training.loop import TrainingLoop
from tests.bench.actor_environment import enter_actor_environment
from tests.bench.text_quality_table import read_examples, sample_tables
from tests.unit.aigc_models.text.networks.test_gpt import llama_like

NUM_CANDIDATES = 8
TEMPERATURE = 0.5
MAX_TOKENS = 80
SAMPLING = Sampling(
    num_candidates=NUM_CANDIDATES, temperature=TEMPERATURE, greedy=False, max_tokens=MAX_TOKENS
)
BATCHES = (16, 64, 128)
"""Rows at once; eight sequences each."""


def train(
    path: Path, folder: Path, cpu_budget_s: float
) -> tuple[GPT, TextTokenizer, list[list[int]]]:
    """A GPT of the default size without coverage, and the acts of its training texts."""
    settings = default_settings("gpt", cpu_budget_s=cpu_budget_s)
    corpus = build_corpus(read_examples(path), settings.validation_share)
    tokenizer = build_tokenizer(corpus, settings)
    torch.manual_seed(0)
    config = GPTConfig(
        vocab_size=tokenizer.vocab_size,
        pad_id=tokenizer.pad_id,
        end_id=tokenizer.eos_id,
        **settings.network_options(),
    )
    network = GPT(config)
    for parameter in network.coverage.parameters():
        parameter.requires_grad_(False).zero_()
    task = text_task(corpus, tokenizer, settings, torch.device("cpu"))
    TrainingLoop(network, task, settings, folder).run()
    acts = [tokenizer.prefix(text.act) for text in corpus.training]
    return network.eval(), tokenizer, acts


@torch.inference_mode()
def check_same(network: GPT, llama: LlamaForCausalLM, prefix_BP: Tensor) -> None:
    """Raises AssertionError unless both give the same logits."""
    ours, _ = network.start(prefix_BP)
    theirs = llama(prefix_BP, attention_mask=prefix_BP != network.config.pad_id).logits[:, -1]
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


def ours(network: GPT, acts: list[list[int]], rows_at_once: int) -> int:
    """Returns the number of generated tokens, like `theirs`."""
    num_tokens = 0
    for prefix_BP, seeds in batches(network, acts, rows_at_once):
        allowed_BV = torch.ones(len(seeds), network.config.vocab_size, dtype=torch.bool)
        rows: list[list[Candidate]] = decode(
            network, prefix_BP, allowed_BV, seeds, SAMPLING, network.config.end_id
        )
        num_tokens += sum(len(each.tokens) + each.is_finished for row in rows for each in row)
    return num_tokens


@torch.inference_mode()
def theirs(network: GPT, llama: LlamaForCausalLM, acts: list[list[int]], rows_at_once: int) -> int:
    num_tokens, end = 0, network.config.end_id
    for prefix_BP, _ in batches(network, acts, rows_at_once):
        made = llama.generate(
            prefix_BP,
            attention_mask=(prefix_BP != network.config.pad_id).long(),
            do_sample=True,
            temperature=TEMPERATURE,
            top_k=0,
            num_return_sequences=NUM_CANDIDATES,
            max_new_tokens=MAX_TOKENS,
        )[:, prefix_BP.shape[1] :]
        ends = (made == end).int()
        num_tokens += int(torch.where(ends.any(1), ends.argmax(1) + 1, made.shape[1]).sum())
    return num_tokens


def batches(
    network: GPT, acts: list[list[int]], rows_at_once: int
) -> list[tuple[Tensor, list[int]]]:
    """Batches of prefixes of similar length, as in a shard, with a seed for each row."""
    order = sorted(range(len(acts)), key=lambda i: len(acts[i]))
    chosen = [order[start : start + rows_at_once] for start in range(0, len(order), rows_at_once)]
    return [(left_padded([acts[i] for i in rows], network.config.pad_id), rows) for rows in chosen]


def timed(work: Callable[[], int]) -> tuple[float, int]:
    """CPU seconds and tokens; on a busy machine, CPU time varies less than wall time."""
    started = time.process_time()
    num_tokens = work()
    return time.process_time() - started, num_tokens


def gemm_rate() -> float:
    """Floating-point operations per second of float32 products of 1024 x 1024 matrices, on one
    thread."""
    a, b = torch.randn(1024, 1024), torch.randn(1024, 1024)
    seconds = median(timed(lambda: int((a @ b).shape[0]))[0] for _ in range(20))
    return 2 * 1024**3 / seconds


def flops_per_token(network: GPT) -> float:
    """Operations of the products with weights, which any decoder must do for each token."""
    config = network.config
    block = 4 * config.width**2 + 3 * config.width * config.mlp_width
    return 2.0 * (config.num_layers * block + config.vocab_size * config.width)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--train", type=Path)
    parser.add_argument("--rows", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--train-s", type=float, default=60)
    args = parser.parse_args()
    enter_actor_environment()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        path = args.train or sample_tables(Path(folder))[0]
        network, _, acts = train(path, Path(folder), args.train_s)
    acts = (acts * (1 + args.rows // len(acts)))[: args.rows]
    llama = llama_like(network)
    check_same(network, llama, batches(network, acts, 32)[0][0])
    best = min(BATCHES, key=lambda rows: timed(lambda: theirs(network, llama, acts[:256], rows))[0])
    usual = BATCH_SEQUENCES // NUM_CANDIDATES
    rounds = []
    for _ in range(args.rounds):
        our_timing = timed(lambda: ours(network, acts, usual))
        their_timing = timed(lambda: theirs(network, llama, acts, best))
        rounds.append((our_timing, their_timing))
    table = Table("", "CPU seconds", "rows/CPU s", "candidate tokens/CPU s")
    for number, name in enumerate(("decode", f"Hugging Face generate, {best} rows at once")):
        seconds, tokens = (median(each[number][part] for each in rounds) for part in (0, 1))
        table.add_row(
            name, f"{seconds:.1f}", f"{args.rows / seconds:.1f}", f"{tokens / seconds:,.0f}"
        )
    ratios = [their_s / our_s for (our_s, _), (their_s, _) in rounds]
    token_rate = median(tokens / our_s for (our_s, tokens), _ in rounds)
    share = token_rate * flops_per_token(network) / gemm_rate()
    console = Console(width=110)
    console.print(table)
    shown = ", ".join(f"{ratio:.2f}" for ratio in ratios)
    console.print(f"decode / Hugging Face: {median(ratios):.2f} (rounds: {shown})")
    console.print(f"of the arithmetic bound (float32 products, one thread): {share:.1%}")


if __name__ == "__main__":
    main()
