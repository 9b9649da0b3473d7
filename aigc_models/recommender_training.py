"""Trains a recommender from histories to a checkpoint folder.

Knows nothing of where histories come from or where the folder goes.

B batch, T positions.
"""

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from aigc_models.batching import BatchSchedule
from aigc_models.bert import BERT, choose
from aigc_models.checkpoint import METRICS, write_json
from aigc_models.item_data import HeldOut, Items, Sequences, as_sequences, hold_out, left_padded, windows
from aigc_models.item_knn import ItemKNN
from aigc_models.item_loss import item_loss
from aigc_models.item_networks import MASK, PAD, build_item_network
from aigc_models.loop import Task, TrainingLoop, TrainingProgress, resolve_device
from aigc_models.rank_metrics import hit_rate, ndcg, ranks
from aigc_models.recommender import Recommender, batches_by_length
from aigc_models.recommender_settings import RecommenderSettings, default_recommender_settings

__all__ = ["RecommenderSettings", "default_recommender_settings", "train_recommender"]

TOP = 10
"""What metrics look at."""
SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)
"""Of item-kNN in the score, that are tried on held-out items."""


def train_recommender(
    histories: Sequence[Sequence[str]],
    folder: Path,
    *,
    settings: RecommenderSettings,
    work_dir: Path,
    on_progress: Callable[[TrainingProgress], None] | None = None,
    on_checkpoint: Callable[[Path], None] | None = None,
) -> dict[str, float]:
    """Writes a complete checkpoint folder and returns its metrics, measured on held-out last items.

    `histories`: each user's items, the oldest first. Goes on from `work_dir` if it holds the state of an interrupted
    training of the same histories and settings. Raises `ItemDataError`.
    """
    torch.set_num_threads(settings.num_threads)
    items = Items(tuple(sorted({item for history in histories for item in history})))
    sequences = as_sequences([items.tokens(history) for history in histories])
    training, held_out = hold_out(sequences, settings.num_scored, settings.seed)
    torch.manual_seed(settings.seed)
    device = resolve_device(settings.device)
    network = build_item_network(settings.family, len(items), settings.network_options()).to(device)
    knn = ItemKNN.fit(training, items.vocab_size)
    model = Recommender(settings.family, network, knn, items, max_items=settings.max_items)
    task = recommender_task(model, training, held_out, settings)
    result = TrainingLoop(network, task, settings, work_dir, on_progress, on_checkpoint).run()
    if settings.knn_share is None:
        model.knn_share = max(SHARES, key=lambda share: ndcg(ranks_of(model, held_out, share), TOP))
    else:
        model.knn_share = settings.knn_share
    metrics = {
        **rank_metrics(model, held_out),
        "val_loss": result.val_loss,
        "steps": float(result.steps),
        "cpu_seconds": result.cpu_seconds,
        "wall_seconds": result.wall_seconds,
        "num_parameters": float(sum(p.numel() for p in network.parameters())),
        "num_histories": float(len(sequences)),
        "num_items": float(len(items)),
        "num_events": float(len(sequences.tokens_N)),
    }
    model.knn = ItemKNN.fit(sequences, items.vocab_size)
    model.save(folder)
    write_json(folder / METRICS, metrics)
    shutil.copytree(work_dir / "tensorboard", folder / "tensorboard", dirs_exist_ok=True)
    return metrics


def recommender_task(model: Recommender, training: Sequences, held_out: HeldOut, settings: RecommenderSettings) -> Task:
    pieces = windows(training, settings.max_items)
    schedule = BatchSchedule([(len(piece),) for piece in pieces], settings.batch_tokens, settings.seed)
    device = model.network.embedding.weight.device

    def batch_at(step: int) -> Tensor:
        return left_padded([pieces[row] for row in schedule.rows_at(step)]).to(device)

    def loss(network: nn.Module, tokens_BT: Tensor) -> tuple[Tensor, int]:
        if isinstance(network, BERT):
            learned_BT = choose(tokens_BT, settings.mask_share, PAD)
            states_BTE, targets_BT = network(tokens_BT.masked_fill(learned_BT, MASK)), tokens_BT
        else:
            learned_BT = tokens_BT[:, :-1] != PAD
            states_BTE, targets_BT = network(tokens_BT[:, :-1]), tokens_BT[:, 1:]
        table_VE = model.network.embedding.weight
        value = item_loss(states_BTE[learned_BT], targets_BT[learned_BT], table_VE, settings.num_negatives)
        return value, int(learned_BT.sum())

    def validate(_: nn.Module) -> float:
        return -ndcg(ranks_of(model, held_out, knn_share=0.0), TOP)

    return Task(batch_at=batch_at, loss=loss, validate=validate)


@torch.no_grad()
def ranks_of(model: Recommender, held_out: HeldOut, knn_share: float) -> Tensor:
    """Places [B] of the held-out items among all that a history does not have yet; 0 beyond the first `TOP`."""
    ranks_B = torch.zeros(len(held_out.histories), dtype=torch.int64)
    for rows in batches_by_length(held_out.histories):
        histories = [held_out.histories[row] for row in rows]
        ranked_BK, _ = model.rank(histories, TOP, leave_out_seen=True, knn_share=knn_share)
        ranks_B[rows] = ranks(ranked_BK, held_out.answers_B[rows])
    return ranks_B


def rank_metrics(model: Recommender, held_out: HeldOut) -> dict[str, float]:
    """HR@10 and NDCG@10 by full ranking, of the blend and of either part alone."""
    metrics = {"knn_share": model.knn_share}
    for prefix, share in (("", model.knn_share), ("network_", 0.0), ("knn_", 1.0)):
        ranks_B = ranks_of(model, held_out, share)
        metrics |= {f"{prefix}hr_10": hit_rate(ranks_B, TOP), f"{prefix}ndcg_10": ndcg(ranks_B, TOP)}
    return metrics
