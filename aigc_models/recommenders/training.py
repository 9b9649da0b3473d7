"""Trains a recommender from histories to a checkpoint folder.

Knows nothing of where histories come from or where the folder goes.

B batch, T positions, K ranked items, N items to compare with, V items and special tokens.
"""

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from aigc_models.checkpoint import METRICS, write_json
from aigc_models.device import resolve_device, sent
from aigc_models.recommenders.bert import BERT, choose
from aigc_models.recommenders.data import (
    HeldOut,
    Items,
    Sequences,
    as_sequences,
    hold_out,
    left_padded,
    split_keys,
    windows,
)
from aigc_models.recommenders.knn import ItemKNN
from aigc_models.recommenders.loss import item_loss
from aigc_models.recommenders.metrics import (
    coverage,
    hit_rate,
    ndcg,
    popularity_lift,
    ranks,
    ranks_among,
)
from aigc_models.recommenders.model import Recommender, batches_by_length
from aigc_models.recommenders.networks import MASK, NUM_SPECIAL, PAD, build_item_network
from aigc_models.recommenders.settings import RecommenderSettings, default_recommender_settings
from aigc_models.training.batching import BatchSchedule
from aigc_models.training.data_parallel import is_first
from aigc_models.training.loop import Task, TrainingLoop
from aigc_models.training.settings import TrainingProgress

__all__ = ["RecommenderSettings", "default_recommender_settings", "train_recommender"]

TOP = 10
"""What metrics look at."""
NUM_SAMPLED = 100
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
    """Writes a complete checkpoint folder and returns its metrics, measured on held-out last items;
    of several processes only the first one does, the others return none.

    What is held out is learned from by nobody, item-kNN included: a later training measures this
    model by the same users.

    `histories`: each user's items, the oldest first. Goes on from `work_dir` if it holds the state
    of an interrupted training of the same histories and settings. Raises `ItemDataError`.
    """
    torch.set_num_threads(settings.num_threads)
    items = Items(tuple(sorted({item for history in histories for item in history})))
    sequences = as_sequences([items.tokens(history) for history in histories])
    training, held_out = hold_out(sequences, split_keys(histories), settings.num_scored)
    torch.manual_seed(settings.seed)
    device = resolve_device(settings.device)
    network = build_item_network(settings.family, len(items), settings.network_options()).to(device)
    knn = ItemKNN.fit(training, items.vocab_size, device=device)
    counts_V = torch.from_numpy(np.bincount(training.tokens_N, minlength=items.vocab_size)).float()
    popularity_V = (counts_V / counts_V.sum()).to(device)
    model = Recommender(
        settings.family, network, knn, items, popularity_V, max_items=settings.max_items
    )
    task = recommender_task(model, training, held_out, settings)
    result = TrainingLoop(network, task, settings, work_dir, on_progress, on_checkpoint).run()
    if not is_first():
        return {}
    if settings.knn_share is None:
        model.knn_share = max(SHARES, key=lambda share: ndcg(ranks_of(model, held_out, share), TOP))
    else:
        model.knn_share = settings.knn_share
    metrics = {
        **rank_metrics(model, held_out, training, settings.seed),
        "val_loss": result.val_loss,
        "steps": float(result.steps),
        "cpu_seconds": result.cpu_seconds,
        "wall_seconds": result.wall_seconds,
        "num_parameters": float(sum(p.numel() for p in network.parameters())),
        "num_histories": float(len(sequences)),
        "num_items": float(len(items)),
        "num_events": float(len(sequences.tokens_N)),
    }
    model.save(folder)
    write_json(folder / METRICS, metrics)
    shutil.copytree(work_dir / "tensorboard", folder / "tensorboard", dirs_exist_ok=True)
    return metrics


def evaluate_recommender(
    model: Recommender, histories: Sequence[Sequence[str]], settings: RecommenderSettings
) -> dict[str, float]:
    """Metrics of a trained model on what a training on `histories` with `settings` holds out; a
    held-out item that the model does not know counts as missed."""
    items = Items(tuple(sorted({item for history in histories for item in history})))
    sequences = as_sequences([items.tokens(history) for history in histories])
    training, held_out = hold_out(sequences, split_keys(histories), settings.num_scored)
    token_V = np.array(
        [PAD] * NUM_SPECIAL + [model.items.token_of.get(item, PAD) for item in items.ids]
    )
    known = HeldOut(
        [_known(token_V[history]) for history in held_out.histories],
        torch.from_numpy(token_V)[held_out.answers_B],
    )
    past = Sequences(_known(token_V[training.tokens_N]), np.zeros(1, np.int64))
    return rank_metrics(model, known, past, settings.seed)


def _known(tokens_N: np.ndarray) -> np.ndarray:
    return tokens_N[tokens_N != PAD]


def recommender_task(
    model: Recommender, training: Sequences, held_out: HeldOut, settings: RecommenderSettings
) -> Task:
    pieces = windows(training, settings.max_items)
    schedule = BatchSchedule(
        [(len(piece),) for piece in pieces], settings.batch_tokens, settings.seed
    )
    device = model.network.embedding.weight.device

    def batch_at(step: int) -> tuple[Tensor, Tensor]:
        """Tokens [B, T] on the device, and on the CPU which positions are learned from."""
        tokens_BT = left_padded([pieces[row] for row in schedule.rows_at(step)])
        is_bert = isinstance(model.network, BERT)
        learned_BT = (
            choose(tokens_BT, settings.mask_share, PAD) if is_bert else tokens_BT[:, :-1] != PAD
        )
        return sent(tokens_BT, device), learned_BT

    def loss(network: nn.Module, batch: tuple[Tensor, Tensor]) -> tuple[Tensor, int]:
        tokens_BT, learned_BT = batch
        if isinstance(network, BERT):
            states_BTE, targets_BT = (
                network(tokens_BT.masked_fill(sent(learned_BT, device), MASK)),
                tokens_BT,
            )
        else:
            states_BTE, targets_BT = network(tokens_BT[:, :-1]), tokens_BT[:, 1:]
        places_M = sent(torch.from_numpy(np.flatnonzero(learned_BT)), device)
        states_ME, targets_M = states_BTE.flatten(0, 1)[places_M], targets_BT.flatten()[places_M]
        return item_loss(
            states_ME, targets_M, model.network.embedding.weight, settings.num_negatives
        ), len(places_M)

    def validate(_: nn.Module) -> float:
        return -ndcg(ranks_of(model, held_out, knn_share=0.0), TOP)

    return Task(batch_at=batch_at, loss=loss, validate=validate)


@torch.no_grad()
def best_of(model: Recommender, held_out: HeldOut, knn_share: float) -> Tensor:
    """The best items [B, TOP] that a history does not have yet; PAD where there are no more."""
    best_BK = torch.zeros(len(held_out.histories), min(TOP, len(model.items)), dtype=torch.int64)
    for rows in batches_by_length(held_out.histories):
        histories = [held_out.histories[row] for row in rows]
        ranked_BK, scores_BK = model.rank(histories, TOP, leave_out_seen=True, knn_share=knn_share)
        best_BK[rows] = ranked_BK.masked_fill(scores_BK < 0, PAD)
    return best_BK


def ranks_of(model: Recommender, held_out: HeldOut, knn_share: float) -> Tensor:
    """Places [B] of the held-out items among all that a history does not have yet; 0 beyond the
    first `TOP`."""
    return ranks(best_of(model, held_out, knn_share), held_out.answers_B)


@torch.no_grad()
def sampled_ranks(model: Recommender, held_out: HeldOut, seed: int) -> Tensor:
    """Places [B] of the held-out items among `NUM_SAMPLED` others, drawn from those that a history
    does not have: what older papers report, and easier the fewer are drawn (Krichene and Rendle
    2020)."""
    random = np.random.default_rng(seed)
    ranks_B = torch.zeros(len(held_out.histories), dtype=torch.int64)
    for rows in batches_by_length(held_out.histories):
        histories, answers_B = [held_out.histories[row] for row in rows], held_out.answers_B[rows]
        scores_BV = model.scores(histories, model.knn_share).cpu()
        drawn = [
            _others(random, len(model.items), {*history, int(a)})
            for history, a in zip(histories, answers_B, strict=True)
        ]
        places_BN = torch.from_numpy(np.stack(drawn))
        ranks_B[rows] = ranks_among(
            scores_BV.gather(1, answers_B[:, None])[:, 0], scores_BV.gather(1, places_BN)
        )
    return ranks_B


def _others(random: np.random.Generator, num_items: int, had: set[int]) -> np.ndarray:
    """Different tokens of items that are not among those; PAD, which is never scored, where a draw
    finds too few."""
    drawn = random.integers(NUM_SPECIAL, NUM_SPECIAL + num_items, 2 * NUM_SAMPLED)
    _, first = np.unique(drawn, return_index=True)
    kept = drawn[np.sort(first)]
    kept = kept[~np.isin(kept, list(had))][:NUM_SAMPLED]
    return np.pad(kept, (0, NUM_SAMPLED - len(kept)), constant_values=PAD)


def rank_metrics(
    model: Recommender, held_out: HeldOut, training: Sequences, seed: int
) -> dict[str, float]:
    """HR@10 and NDCG@10 by full ranking, of the blend and of either part alone, and of the blend
    among a hundred others; coverage and popularity lift of what held-out histories are
    recommended."""
    metrics = {"knn_share": model.knn_share}
    for prefix, share in (("network_", 0.0), ("knn_", 1.0)):
        metrics |= _hits(prefix, ranks_of(model, held_out, share))
    best_BK = best_of(model, held_out, model.knn_share)
    counts_V = np.bincount(training.tokens_N, minlength=model.items.vocab_size)
    return {
        **metrics,
        **_hits("", ranks(best_BK, held_out.answers_B)),
        **_hits("sampled_", sampled_ranks(model, held_out, seed)),
        "coverage_10": coverage(best_BK, len(model.items)),
        "popularity_lift_10": popularity_lift(best_BK, held_out.histories, counts_V),
    }


def _hits(prefix: str, ranks_B: Tensor) -> dict[str, float]:
    return {f"{prefix}hr_10": hit_rate(ranks_B, TOP), f"{prefix}ndcg_10": ndcg(ranks_B, TOP)}
