"""A whole partition of pictures against its bounds measured alone: bare torch sampling, and PNG
encoding.

    python -m tests.bench.image_throughput [--images A.parquet] [--model flow] [--train-s 60 |
    --version FOLDER]

Bare sampling is the network as it is trained, called in a loop; beside it stands the sampler of the
partition alone. One thread samples, in the bounds and in the one actor of the partition, which
filters and encodes in further threads. The partition is planned, generated on a Ray cluster of its
own, checked and published into a folder; its time ends when it can be read. Bounds and partition
take turns. Without pictures it draws some.
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
    """Pictures a second of repeated work, which tells how many it made, on one thread."""
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
    """From pixels to PNG."""
    pixels = model.model.sample(
        [i % len(model.label_names) for i in range(512)], list(range(512))
    ).numpy()
    return rate(lambda: sum(bool(encode_png(picture)) for picture in pixels))


def partition_rate(
    storage: Storage, cluster: Cluster, version: ModelVersion, each: int, seed: int
) -> tuple[float, float]:
    """Pictures a second of a whole partition, and of its actor while it worked."""
    started = time.monotonic()
    settings = JOB.parse_settings({"amount": str(each), "seed": seed})
    snapshot = take_snapshot(storage, JOB.table, DAY)
    plan = make_plan(
        JOB, DAY, snapshot, version.pin, settings, JOB.place_orders(storage, snapshot, settings)
    )
    receipts = generate_shards(
        Settings(storage_uri=storage.uri, ray_address=cluster.address),
        storage,
        plan,
        lambda line: None,
        lambda progress: None,
        num_actors=1,
    )
    quality = measure_quality(storage, plan, receipts, JOB.meter())
    published = publish(
        storage, plan, receipts, make_manifest(plan, receipts, quality, 0.0, str(seed), None), None
    )
    assert published
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
        help="CPU seconds; after few of them, filters reject much",
    )
    parser.add_argument(
        "--version", type=Path, help="a checkpoint folder of these pictures, instead of a training"
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
                bare, sampling, encoding = (
                    bare_rate(model),
                    sampling_rate(model),
                    encoding_rate(model),
                )
                each = max(1, int(args.seconds * sampling / len(model.label_names)))
                whole, actor = partition_rate(storage, cluster, version, each, number)
                bound = min(bare, encoding)
                rounds.append(
                    (
                        bare,
                        encoding,
                        sampling,
                        actor,
                        whole,
                        actor / bound,
                        whole / bound,
                        whole / sampling,
                    )
                )
                print(f"round {number + 1}: {whole / bound:.2f} of the slower bound", flush=True)
    show(args.model, rounds)


def drawn(folder: Path) -> Path:
    numbers = {"num_products": 0, "num_examples": 0, "num_requests": 0, "num_interactions": 0}
    return write_samples(folder / "shop", num_images=2000, seed=0, **numbers)["images"]


def show(family: str, rounds: list[tuple[float, ...]]) -> None:
    names = ("bare torch sampling, images/s", "PNG encoding, images/s", "our sampler alone, images/s",
             "the actor, images/s", "whole partition, images/s", "actor / slower bound",
             "whole partition / slower bound", "whole partition / our sampler")  # fmt: skip
    table = Table(
        "figure",
        *(f"round {number}" for number in range(1, len(rounds) + 1)),
        "median",
        title=family,
    )
    for name, values in zip(names, zip(*rounds, strict=True), strict=True):
        cells = [
            f"{value:,.0f}" if value > 10 else f"{value:.2f}" for value in (*values, median(values))
        ]
        table.add_row(name, *cells)
    Console().print(table)


if __name__ == "__main__":
    main()
