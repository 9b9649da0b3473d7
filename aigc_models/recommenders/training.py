"""Trains a recommender from histories and writes a checkpoint folder.

Does not know where the histories come from or where the folder goes.

B batch, T positions, M positions to predict, E width, K ranked items, N items to compare with,
V items and special tokens.
"""

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from aigc_models.checkpoint import METRICS, write_json
from aigc_models.device import resolve_device, to_device
from aigc_models.recommenders.bert import BERT, choose_masked
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
from aigc_models.recommenders.networks import (
    MASK,
    NUM_SPECIAL,
    PAD,
    ItemNetwork,
    build_item_network,
)
from aigc_models.recommenders.settings import RecommenderSettings, default_recommender_settings
from aigc_models.training.batching import BatchSchedule
from aigc_models.training.data_parallel import is_first
from aigc_models.training.loop import LoopResult, TrainingLoop
from aigc_models.training.settings import TrainingProgress
from aigc_models.training.step import Task

__all__ = ["RecommenderSettings", "default_recommender_settings", "train_recommender"]

TOP = 10
"""How many ranked items the metrics consider."""
NUM_SAMPLED = 100
SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)
"""Weights of item-kNN that are tried on held-out items."""


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

    With several processes, only the first one writes; the others return no metrics. Neither the
    network nor item-kNN is trained on held-out items, so that a later training can compare its
    model with this one on the same users.

    `histories`: each user's items, the oldest first. Resumes if `work_dir` has the state of an
    interrupted training with the same histories and settings. Raises `ItemDataError`.
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
    model.knn_share = select_knn_share(model, held_out, settings)
    metrics = {
        **rank_metrics(model, held_out, training, settings.seed),
        **training_metrics(result, network, sequences, items),
    }
    model.save(folder)
    write_json(folder / METRICS, metrics)
    shutil.copytree(work_dir / "tensorboard", folder / "tensorboard", dirs_exist_ok=True)
    return metrics


def select_knn_share(model: Recommender, held_out: HeldOut, settings: RecommenderSettings) -> float:
    """The weight of item-kNN that ranks held-out items best, unless the settings give one."""
    if settings.knn_share is not None:
        return settings.knn_share
    return max(SHARES, key=lambda share: ndcg(rank_held_out(model, held_out, share), TOP))


def training_metrics(
    result: LoopResult, network: ItemNetwork, sequences: Sequences, items: Items
) -> dict[str, float]:
    return {
        "val_loss": result.val_loss,
        "steps": float(result.steps),
        "cpu_seconds": result.cpu_seconds,
        "wall_seconds": result.wall_seconds,
        "num_parameters": float(sum(p.numel() for p in network.parameters())),
        "num_histories": float(len(sequences)),
        "num_items": float(len(items)),
        "num_events": float(len(sequences.tokens_N)),
    }


def evaluate_recommender(
    model: Recommender, histories: Sequence[Sequence[str]], settings: RecommenderSettings
) -> dict[str, float]:
    """Metrics of a trained model on the items that a training on `histories` would hold out.

    A held-out item that the model does not know counts as missed.
    """
    items = Items(tuple(sorted({item for history in histories for item in history})))
    sequences = as_sequences([items.tokens(history) for history in histories])
    training, held_out = hold_out(sequences, split_keys(histories), settings.num_scored)
    model_tokens = [model.items.token_of.get(item, PAD) for item in items.ids]
    token_V = np.array([PAD] * NUM_SPECIAL + model_tokens)
    known = HeldOut(
        [_known(token_V[history]) for history in held_out.histories],
        torch.from_numpy(token_V)[held_out.answers_B],
    )
    # Metrics only count the items of the training histories.
    past = Sequences(_known(token_V[training.tokens_N]), np.zeros(1, np.int64))
    return rank_metrics(model, known, past, settings.seed)


def _known(tokens_N: np.ndarray) -> np.ndarray:
    return tokens_N[tokens_N != PAD]


def recommender_task(
    model: Recommender, training: Sequences, held_out: HeldOut, settings: RecommenderSettings
) -> Task:
    pieces = windows(training, settings.max_items)
    lengths = [(len(piece),) for piece in pieces]
    schedule = BatchSchedule(lengths, settings.batch_tokens, settings.seed)
    table_VE = model.network.embedding.weight
    device = table_VE.device

    def batch_at(step: int) -> tuple[Tensor, Tensor]:
        """Tokens [B, T] on the device, and on the CPU the positions to predict, as booleans."""
        tokens_BT = left_padded([pieces[row] for row in schedule.rows_at(step)])
        if isinstance(model.network, BERT):
            is_predicted_BT = choose_masked(tokens_BT, settings.mask_share, PAD)
        else:
            is_predicted_BT = tokens_BT[:, :-1] != PAD
        return to_device(tokens_BT, device), is_predicted_BT

    def loss(network: nn.Module, batch: tuple[Tensor, Tensor]) -> tuple[Tensor, int]:
        tokens_BT, is_predicted_BT = batch
        if isinstance(network, BERT):
            states_BTE = network(tokens_BT.masked_fill(to_device(is_predicted_BT, device), MASK))
            targets_BT = tokens_BT
        else:
            states_BTE = network(tokens_BT[:, :-1])
            targets_BT = tokens_BT[:, 1:]
        # The positions are found on the CPU: selecting by a mask on a GPU would wait for it.
        places_M = to_device(torch.from_numpy(np.flatnonzero(is_predicted_BT)), device)
        states_ME = states_BTE.flatten(0, 1)[places_M]
        targets_M = targets_BT.flatten()[places_M]
        return item_loss(states_ME, targets_M, table_VE, settings.num_negatives), len(places_M)

    def validate(_: nn.Module) -> float:
        return -ndcg(rank_held_out(model, held_out, knn_share=0.0), TOP)

    return Task(batch_at=batch_at, loss=loss, validate=validate)


@torch.no_grad()
def select_best(model: Recommender, held_out: HeldOut, knn_share: float) -> Tensor:
    """Tokens [B, TOP] of the best items that are not in the history; PAD if there are no more."""
    best_BK = torch.zeros(len(held_out.histories), min(TOP, len(model.items)), dtype=torch.int64)
    for rows in batches_by_length(held_out.histories):
        histories = [held_out.histories[row] for row in rows]
        ranked_BK, scores_BK = model.rank(histories, TOP, leave_out_seen=True, knn_share=knn_share)
        best_BK[rows] = ranked_BK.masked_fill(scores_BK < 0, PAD)
    return best_BK


def rank_held_out(model: Recommender, held_out: HeldOut, knn_share: float) -> Tensor:
    """Ranks [B] of the held-out items among all that are not in the history; 0 beyond `TOP`."""
    return ranks(select_best(model, held_out, knn_share), held_out.answers_B)


@torch.no_grad()
def rank_among_sampled(model: Recommender, held_out: HeldOut, seed: int) -> Tensor:
    """Ranks [B] of the held-out items among `NUM_SAMPLED` random ones that are not in the history.

    Older papers report this. It is easier the fewer items are drawn (Krichene and Rendle 2020).
    """
    random = np.random.default_rng(seed)
    ranks_B = torch.zeros(len(held_out.histories), dtype=torch.int64)
    for rows in batches_by_length(held_out.histories):
        histories = [held_out.histories[row] for row in rows]
        answers_B = held_out.answers_B[rows]
        scores_BV = model.scores(histories, model.knn_share).cpu()
        drawn = [
            _draw_others(random, len(model.items), {*history, int(answer)})
            for history, answer in zip(histories, answers_B, strict=True)
        ]
        others_BN = torch.from_numpy(np.stack(drawn))
        answer_scores_B = scores_BV.gather(1, answers_B[:, None])[:, 0]
        ranks_B[rows] = ranks_among(answer_scores_B, scores_BV.gather(1, others_BN))
    return ranks_B


def _draw_others(random: np.random.Generator, num_items: int, excluded: set[int]) -> np.ndarray:
    """Draws `NUM_SAMPLED` different tokens of other items.

    If too few are found, the rest is PAD, whose score is below all others.
    """
    drawn = random.integers(NUM_SPECIAL, NUM_SPECIAL + num_items, 2 * NUM_SAMPLED)
    _, first = np.unique(drawn, return_index=True)
    kept = drawn[np.sort(first)]
    kept = kept[~np.isin(kept, list(excluded))][:NUM_SAMPLED]
    return np.pad(kept, (0, NUM_SAMPLED - len(kept)), constant_values=PAD)


def rank_metrics(
    model: Recommender, held_out: HeldOut, training: Sequences, seed: int
) -> dict[str, float]:
    """HR@10 and NDCG@10, and coverage and popularity lift of the recommended items.

    The first two are computed by full ranking, for the blend and for the network and item-kNN
    alone, and for the blend among a hundred sampled items.
    """
    metrics = {"knn_share": model.knn_share}
    for prefix, share in (("network_", 0.0), ("knn_", 1.0)):
        metrics |= _hits(prefix, rank_held_out(model, held_out, share))
    best_BK = select_best(model, held_out, model.knn_share)
    counts_V = np.bincount(training.tokens_N, minlength=model.items.vocab_size)
    return {
        **metrics,
        **_hits("", ranks(best_BK, held_out.answers_B)),
        **_hits("sampled_", rank_among_sampled(model, held_out, seed)),
        "coverage_10": coverage(best_BK, len(model.items)),
        "popularity_lift_10": popularity_lift(best_BK, held_out.histories, counts_V),
    }


def _hits(prefix: str, ranks_B: Tensor) -> dict[str, float]:
    return {f"{prefix}hr_10": hit_rate(ranks_B, TOP), f"{prefix}ndcg_10": ndcg(ranks_B, TOP)}
