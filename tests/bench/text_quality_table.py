"""Trains text model families on copy examples and writes one text per test act for a scorer, with a table of minutes.

    python tests/bench/text_quality_table.py --train TRAIN.parquet --test TEST.parquet --out DIR [--families gpt,lstm]

Both tables have the columns of copy examples: `intent`, `attributes`, `reference`. DIR/FAMILY/predictions.parquet holds
the column `text`, in the order of TEST. The references of TEST are not read.
"""

import argparse
import json
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from aigc_models.acts import TextExample, TextRequest
from aigc_models.noise import derive_seed
from aigc_models.text import Sampling, TextModel
from aigc_models.training import TrainingProgress, default_settings, train_text_model


def read_requests(path: Path) -> list[TextRequest]:
    rows = pq.read_table(path, columns=["intent", "attributes"]).to_pylist()
    return [TextRequest(row["intent"], tuple((a["key"], a["value"]) for a in row["attributes"])) for row in rows]


def read_examples(path: Path) -> list[TextExample]:
    references = pq.read_table(path, columns=["reference"])["reference"].to_pylist()
    return [TextExample(*pair) for pair in zip(read_requests(path), references, strict=True)]


def show(progress: TrainingProgress) -> None:
    if progress.step % 100 == 0:
        print(f"  step {progress.step}: loss {progress.loss:.3f}, {progress.fraction:.0%}", flush=True)


def measure(family: str, args: argparse.Namespace) -> dict[str, float]:
    """Trains, generates and writes predictions; CPU seconds are those of this process."""
    folder = args.out / family
    settings = default_settings(family, **({"cpu_budget_s": args.cpu_budget_s} if args.cpu_budget_s else {}))
    started = time.process_time()
    metrics = train_text_model(
        read_examples(args.train), folder / "model", settings=settings, work_dir=folder / "work", on_progress=show
    )
    trained = time.process_time()
    requests = read_requests(args.test)
    model = TextModel.load(folder / "model")
    seeds = [derive_seed(args.seed, i) for i in range(len(requests))]
    rows = model.generate(requests, seeds, Sampling())
    generated = time.process_time()
    pq.write_table(pa.table({"text": [row.text for row in rows]}), folder / "predictions.parquet")
    return {
        "parameters": metrics["num_parameters"],
        "training_min": metrics["cpu_seconds"] / 60,
        "whole_training_min": (trained - started) / 60,
        "val_loss": metrics["val_loss"],
        "rows_per_cpu_s": len(rows) / (generated - trained),
        "faithful_share": sum(not row.problems for row in rows) / len(rows),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--train", type=Path, required=True)
    parser.add_argument("--test", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--families", default="gpt,lstm,gru,rnn")
    parser.add_argument("--cpu-budget-s", type=float, default=0.0, help="0: each family's own")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    table = {}
    for family in args.families.split(","):
        print(family, flush=True)
        table[family] = {name: round(value, 4) for name, value in measure(family, args).items()}
        print(json.dumps(table[family]), flush=True)
    print(json.dumps(table, indent=2))


if __name__ == "__main__":
    main()
