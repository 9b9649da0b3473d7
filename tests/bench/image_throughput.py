"""Compares a whole partition of pictures with its two bounds: bare torch sampling and PNG encoding.

    python -m tests.bench.image_throughput [--images A.parquet] [--model flow]
                                           [--train-s 60 | --version FOLDER]

Bare sampling calls the trained network in a loop; the partition's sampler is also measured alone.
One thread samples, in the bounds and in the only actor of the partition, which filters and encodes
in further threads. The partition is planned, generated on its own Ray cluster, checked and
published into a folder; its time ends when it can be read. Bounds and partition take turns. Without
`--images` it uses pictures of the sample shop.
"""

import argparse
import shutil
import tempfile
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path
from statistics import median

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from aigc_models.images.checked import CheckedImageModel
from aigc_models.images.data import to_pixels
from aigc_models.images.model import BATCH_IMAGES
from aigc_models.images.networks.flow import LatentFlow
from infra.settings import Settings
from infra.storage import Storage, open_storage
from tests.bench.actor_environment import enter_actor_environment
from tests.bench.trained_version import publish_folder, train_folder
from tests.support.ray_cluster import Cluster, running_cluster
from workers.generation.generate import generate_shards
from workers.inputs.pictures import encode_png
from workers.inputs.snapshot import take_snapshot
from workers.inputs.store import put_table
from workers.jobs import JOBS
from workers.models import MODELS
from workers.partitions.manifest import make_manifest
from workers.partitions.publish import publish
from workers.partitions.quality import measure_quality
from workers.plans.planning import make_plan
from workers.registry.versions import ModelVersion
from workers.samples import write_samples

DAY = date(2026, 11, 22)
JOB = JOBS["product_images"]
MODEL = MODELS[JOB.model]
BOUND_S = 10.0


def train(
    storage: Storage, folder: Path, args: argparse.Namespace
) -> tuple[CheckedImageModel, ModelVersion]:
    if args.version:
        shutil.copytree(args.version, folder / "model")
    else:
        overrides = {"cpu_budget_s": args.train_s, "num_scored": 300}
        train_folder(storage, MODEL, args.model, DAY, folder / "model", overrides)
    version = publish_folder(storage, MODEL, args.model, DAY, folder / "model")
    return MODEL.load(folder / "model", "cpu"), version


def rate(work: Callable[[], int]) -> float:
    """Pictures per second on one thread; `work` is repeated and returns its number of pictures."""
    torch.set_num_threads(1)
    num_images, started = 0, time.monotonic()
    while time.monotonic() - started < BOUND_S:
        num_images += work()
    return num_images / (time.monotonic() - started)


def bare_rate(model: CheckedImageModel) -> float:
    network, num_classes = model.model.network, len(model.label_names)

    @torch.inference_mode()
    def work() -> int:
        labels_B = torch.arange(BATCH_IMAGES) % num_classes
        noise_BZ = torch.randn(BATCH_IMAGES, network.noise_width)
        if isinstance(network, LatentFlow):
            to_pixels(network.vae.generate(heun(network, noise_BZ, labels_B), labels_B))
        else:
            to_pixels(network.generate(noise_BZ, labels_B))
        return BATCH_IMAGES

    return rate(work)


def heun(network: LatentFlow, x_BZ: Tensor, labels_B: Tensor) -> Tensor:
    step = 1 / network.config.num_sampling_steps
    for i in range(network.config.num_sampling_steps):
        time_B = torch.full((len(x_BZ),), i * step)
        slope_BZ = network.velocity(x_BZ, time_B, labels_B)
        slope_after_BZ = network.velocity(x_BZ + step * slope_BZ, time_B + step, labels_B)
        x_BZ = x_BZ + step * (slope_BZ + slope_after_BZ) / 2
    return x_BZ


def sampling_rate(model: CheckedImageModel) -> float:
    labels = [place % len(model.label_names) for place in range(1024)]
    return rate(lambda: len(model.model.sample(labels, range(1024))))


def encoding_rate(model: CheckedImageModel) -> float:
    """PNG encodings per second."""
    labels = [place % len(model.label_names) for place in range(512)]
    pixels = model.model.sample(labels, range(512)).numpy()
    return rate(lambda: sum(bool(encode_png(picture)) for picture in pixels))


def partition_rate(
    storage: Storage, cluster: Cluster, version: ModelVersion, each: int, seed: int
) -> tuple[float, float]:
    """Pictures per second of the whole partition, and of its actor while it worked."""
    started = time.monotonic()
    settings = JOB.parse_settings({"amount": str(each), "seed": seed})
    snapshot = take_snapshot(storage, JOB.table, DAY)
    orders = JOB.place_orders(storage, snapshot, settings)
    plan = make_plan(JOB, DAY, snapshot, version.pin, settings, orders)
    receipts = generate_shards(
        Settings(storage_uri=storage.uri, ray_address=cluster.address),
        storage,
        plan,
        lambda line: None,
        lambda progress: None,
        num_actors=1,
    )
    quality = measure_quality(storage, plan, receipts, JOB.meter())
    manifest = make_manifest(plan, receipts, quality, 0.0, str(seed), None)
    assert publish(storage, plan, receipts, manifest, None)
    spent = time.monotonic() - started
    storage.delete([item.key for prefix in ("outputs/", "work/") for item in storage.list(prefix)])
    return plan.num_rows / spent, plan.num_rows / sum(receipt.seconds for receipt in receipts)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=Path)
    parser.add_argument("--model", choices=MODEL.families, default=MODEL.families[0])
    parser.add_argument(
        "--train-s",
        type=float,
        default=60.0,
        help="CPU seconds; after a short training, filters reject many pictures",
    )
    parser.add_argument(
        "--version", type=Path, help="use this checkpoint folder instead of training"
    )
    parser.add_argument(
        "--seconds", type=float, default=60.0, help="about how long a partition takes"
    )
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    enter_actor_environment()
    with tempfile.TemporaryDirectory(prefix="image-throughput-") as name:
        folder = Path(name)
        storage = open_storage(Settings(storage_uri=(folder / "store").as_uri()))
        file = args.images or drawn(folder)
        put_table(storage, "images", [file])
        model, version = train(storage, folder, args)
        rounds = []
        with running_cluster(folder / "ray") as cluster:
            for number in range(args.rounds):
                rates = measure_round(storage, cluster, version, model, args.seconds, number)
                rounds.append(rates)
                ratio = rates["whole partition / slower bound"]
                print(f"round {number + 1}: {ratio:.2f} of the slower bound", flush=True)
    show(args.model, rounds)


def measure_round(
    storage: Storage,
    cluster: Cluster,
    version: ModelVersion,
    model: CheckedImageModel,
    seconds: float,
    number: int,
) -> dict[str, float]:
    """The figures of one round, by display name."""
    bare = bare_rate(model)
    sampling = sampling_rate(model)
    encoding = encoding_rate(model)
    each = max(1, int(seconds * sampling / len(model.label_names)))
    whole, actor = partition_rate(storage, cluster, version, each, number)
    bound = min(bare, encoding)
    return {
        "bare torch sampling, images/s": bare,
        "PNG encoding, images/s": encoding,
        "our sampler alone, images/s": sampling,
        "the actor, images/s": actor,
        "whole partition, images/s": whole,
        "actor / slower bound": actor / bound,
        "whole partition / slower bound": whole / bound,
        "whole partition / our sampler": whole / sampling,
    }


def drawn(folder: Path) -> Path:
    numbers = {"num_products": 0, "num_examples": 0, "num_requests": 0, "num_interactions": 0}
    return write_samples(folder / "shop", num_images=2000, seed=0, **numbers)["images"]


def show(family: str, rounds: list[dict[str, float]]) -> None:
    columns = [f"round {number}" for number in range(1, len(rounds) + 1)]
    table = Table("figure", *columns, "median", title=family)
    for name in rounds[0]:
        values = [rates[name] for rates in rounds]
        cells = [*values, median(values)]
        table.add_row(name, *(f"{cell:,.0f}" if cell > 10 else f"{cell:.2f}" for cell in cells))
    Console().print(table)


if __name__ == "__main__":
    main()
