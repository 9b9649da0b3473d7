"""Trains text model families, writes a text for each test act, prints quality and training time.

    python tests/bench/text_quality_table.py [--train A.parquet --test B.parquet] [--out DIR]
                                             [--families gpt,lstm]

Without tables it uses the sample shop's texts. Both tables have the columns of copy examples:
`intent`, `attributes` and `reference`. DIR/FAMILY/predictions.parquet holds the column `text` for
an external scorer, in the order of the test table, whose references are not read.
"""

import argparse
import tempfile
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from rich.console import Console
from rich.table import Table

from aigc_models.seeds import derive_seed
from aigc_models.text.language.acts import TextExample, TextRequest
from aigc_models.text.model import Sampling, TextModel
from aigc_models.text.training import TrainingProgress, default_settings, train_text_model
from workers.samples import write_samples


def read_requests(path: Path) -> list[TextRequest]:
    rows = pq.read_table(path, columns=["intent", "attributes"]).to_pylist()
    return [
        TextRequest(row["intent"], tuple((a["key"], a["value"]) for a in row["attributes"]))
        for row in rows
    ]


def read_examples(path: Path) -> list[TextExample]:
    references = pq.read_table(path, columns=["reference"])["reference"].to_pylist()
    return [TextExample(*pair) for pair in zip(read_requests(path), references, strict=True)]


def show(progress: TrainingProgress) -> None:
    if progress.step % 100 == 0:
        print(
            f"  step {progress.step}: loss {progress.loss:.3f}, {progress.fraction:.0%}", flush=True
        )


def measure(family: str, args: argparse.Namespace) -> dict[str, float]:
    """Trains, generates and writes predictions; CPU times are those of this process."""
    folder = args.out / family
    budget = {"cpu_budget_s": args.cpu_budget_s} if args.cpu_budget_s else {}
    settings = default_settings(family, **budget)
    started = time.process_time()
    metrics = train_text_model(
        read_examples(args.train),
        folder / "model",
        settings=settings,
        work_dir=folder / "work",
        on_progress=show,
    )
    trained = time.process_time()
    requests = read_requests(args.test)
    model = TextModel.load(folder / "model")
    seeds = [derive_seed(args.seed, i) for i in range(len(requests))]
    rows = model.generate(requests, seeds, Sampling())
    generated = time.process_time()
    pq.write_table(pa.table({"text": [row.text for row in rows]}), folder / "predictions.parquet")
    return {
        "BLEU": metrics["bleu"],
        "slot errors": metrics["slot_error_rate"],
        "parameters": metrics["num_parameters"],
        "training, CPU min": metrics["cpu_seconds"] / 60,
        "with preparation": (trained - started) / 60,
        "held-out loss": metrics["val_loss"],
        "rows per CPU s": len(rows) / (generated - trained),
        "faithful share": sum(not row.problems for row in rows) / len(rows),
    }


def sample_tables(folder: Path) -> tuple[Path, Path]:
    """Training and test texts of the sample shop."""
    options = {"num_products": 300, "num_requests": 0, "num_images": 0, "num_interactions": 0}
    train = write_samples(folder / "train", num_examples=3000, seed=0, **options)
    test = write_samples(folder / "test", num_examples=500, seed=1, **options)
    return train["copy_examples"], test["copy_examples"]


def print_table(table: dict[str, dict[str, float]]) -> None:
    shown = Table(
        "family",
        *next(iter(table.values())),
        title="BLEU and slot errors are of the training's own held-out acts",
    )
    for family, figures in table.items():
        shown.add_row(family, *(f"{value:,.4g}" for value in figures.values()))
    Console(width=150).print(shown)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--train", type=Path)
    parser.add_argument("--test", type=Path)
    parser.add_argument("--out", type=Path, help="default: a temporary folder")
    parser.add_argument("--families", default="gpt,lstm,gru,rnn")
    parser.add_argument("--cpu-budget-s", type=float, default=0.0, help="0: each family's default")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    if (args.train is None) != (args.test is None):
        parser.error("give both --train and --test, or neither")
    with tempfile.TemporaryDirectory() as scratch:
        args.out = args.out or Path(scratch)
        if args.train is None:
            args.train, args.test = sample_tables(Path(scratch))
        table = {}
        for family in args.families.split(","):
            print(family, flush=True)
            table[family] = measure(family, args)
    print_table(table)


if __name__ == "__main__":
    main()
