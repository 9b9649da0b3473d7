"""Trains recommender families without each user's last purchase, and ranks all items to find it.

    python tests/bench/recommender_table.py [--interactions A.parquet] [--families gpt,gru,bert]
                                            [--cpu-budget-s 600]

Without `--interactions` it uses purchases of the sample shop. Items that a user has are not ranked.
The baselines are popularity and item-kNN. Each family is shown alone, and blended with item-kNN by
the share that its training chose.
"""

import argparse
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pyarrow.parquet as pq
import torch
from rich.console import Console
from rich.table import Table

from aigc_models.recommenders.data import MIN_ITEMS
from aigc_models.recommenders.metrics import hit_rate, ndcg
from aigc_models.recommenders.model import Recommender
from aigc_models.recommenders.settings import FAMILIES
from aigc_models.recommenders.training import (
    TOP,
    TrainingProgress,
    default_recommender_settings,
    train_recommender,
)
from workers.samples import write_samples

History = list[str]


def read_histories(path: Path) -> list[History]:
    rows = pq.read_table(path, columns=["user_id", "item_id", "event_time"]).sort_by("event_time")
    histories: dict[str, History] = {}
    for user, item in zip(rows["user_id"].to_pylist(), rows["item_id"].to_pylist(), strict=True):
        histories.setdefault(user, []).append(item)
    return list(histories.values())


def quality(ranked: Sequence[Sequence[str]], answers: Sequence[str]) -> dict[str, float]:
    places = [
        row.index(answer) + 1 if answer in row else 0
        for row, answer in zip(ranked, answers, strict=True)
    ]
    return {
        "NDCG@10": ndcg(torch.tensor(places), TOP),
        "HR@10": hit_rate(torch.tensor(places), TOP),
    }


def popular(histories: list[History]) -> list[list[str]]:
    counts = Counter(item for history in histories for item in history)
    best = [item for item, _ in counts.most_common(TOP + max(map(len, histories)))]
    return [[item for item in best if item not in set(history)][:TOP] for history in histories]


def ranked_by(
    model: Recommender, histories: list[History], knn_share: float
) -> tuple[list[list[str]], float]:
    """The best items for each history, and the histories ranked per CPU second."""
    model.knn_share = knn_share
    started = time.process_time()
    ranked = model.recommend(histories, TOP)
    rate = len(histories) / (time.process_time() - started)
    return [[one.item for one in items] for items in ranked], rate


def show(progress: TrainingProgress) -> None:
    if progress.step % 500 == 0:
        print(
            f"  step {progress.step}: loss {progress.loss:.3f}, {progress.fraction:.0%}", flush=True
        )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--interactions", type=Path)
    parser.add_argument("--families", default=",".join(FAMILIES))
    parser.add_argument("--cpu-budget-s", type=float, default=0.0, help="0: the family's default")
    args = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        histories = read_histories(args.interactions or drawn(folder))
        training = [history[:-1] if len(history) >= MIN_ITEMS else history for history in histories]
        seen = [history[:-1] for history in histories if len(history) >= MIN_ITEMS]
        answers = [history[-1] for history in histories if len(history) >= MIN_ITEMS]
        table = Table("recommender", "NDCG@10", "HR@10", "CPU minutes", "users a CPU second")
        add(table, "popularity", quality(popular(seen), answers), "", "")
        budget = {"cpu_budget_s": args.cpu_budget_s} if args.cpu_budget_s else {}
        for number, family in enumerate(args.families.split(",")):
            print(family, flush=True)
            metrics = train_recommender(
                training,
                folder / family,
                settings=default_recommender_settings(family, **budget),
                work_dir=folder / f"{family}-work",
                on_progress=show,
            )
            model = Recommender.load(folder / family)
            minutes = f"{metrics['cpu_seconds'] / 60:.1f}"
            blended = model.knn_share
            if number == 0:
                ranked, rate = ranked_by(model, seen, 1.0)
                add(table, "item-kNN", quality(ranked, answers), "", f"{rate:,.0f}")
            for label, share in ((family, 0.0), (f"{family}, {blended:.0%} item-kNN", blended)):
                ranked, rate = ranked_by(model, seen, share)
                add(table, label, quality(ranked, answers), minutes, f"{rate:,.0f}")
    Console().print(table)


def add(table: Table, label: str, figures: dict[str, float], minutes: str, rate: str) -> None:
    table.add_row(label, *(f"{value:.4f}" for value in figures.values()), minutes, rate)


def drawn(folder: Path) -> Path:
    numbers = {"num_examples": 0, "num_requests": 0, "num_images": 0}
    tables = write_samples(
        folder / "shop", num_products=300, num_interactions=20_000, seed=0, **numbers
    )
    return tables["interactions"]


if __name__ == "__main__":
    main()
