"""`nightshift demo`: a whole first night on made-up inputs, with the commands a user would type."""

import subprocess
import sys
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flows.cli.terminal import console, readable_seconds
from infra.errors import GenerationError, InputError
from infra.settings import load_settings

if TYPE_CHECKING:
    from infra.storage import Storage

LINK_EXPIRES_S = 24 * 3600
DATED = "interactions"
"""The table whose sample depends on the day."""


def demo(
    products: Annotated[int, typer.Option(min=20, help="Products of the made-up catalogue.")] = 300,
    images: Annotated[int, typer.Option(min=70, help="Drawn pictures of products.")] = 840,
    purchases: Annotated[
        int, typer.Option(min=200, help="Simulated purchases of the last sixty days.")
    ] = 2000,
    seed: Annotated[int, typer.Option(help="Other seeds make other products and texts.")] = 0,
) -> None:
    """Starts the local stack, loads made-up inputs, runs the nightly flow for every job and shows
    what it wrote.

    Leaves the stack running; `nightshift down` stops it.
    """
    from infra import local
    from infra.storage import open_storage

    started = datetime.now(UTC)
    date = (started.date() - timedelta(days=1)).isoformat()
    say("up")
    with tempfile.TemporaryDirectory() as folder:
        numbers = {
            "products": products,
            "images": images,
            "interactions": purchases,
            "until": date,
            "seed": seed,
        }
        say(
            "inputs",
            "sample",
            folder,
            *(word for name in numbers for word in (f"--{name}", str(numbers[name]))),
        )
        files = new_files(sorted(Path(folder).glob("*.parquet")))
        for file in files:
            say("inputs", "put", file.stem, str(file))
    say("train", "product_descriptions", "--date", date, "--quick")
    say("train", "product_images", "--date", date, "--quick")
    say("train", "recommender", "--date", date, "--quick")
    say("nightly", "--date", date)
    say("show", "product_descriptions", "--date", date)
    say("show")
    say("models")
    say("status")
    settings = load_settings()
    storage = open_storage(settings)
    spent = readable_seconds((datetime.now(UTC) - started).total_seconds())
    rows = [
        ("rows", f"{settings.require_storage()}/outputs/product_descriptions/dt={date}/"),
        ("", f"nightshift export product_descriptions --date {date} --to rows"),
        ("models", f"{settings.require_storage()}/models/"),
        *((name, page) for name, page in report_links(storage, date)),
        ("runs", f"{local.status(settings).ui_url}/runs"),
        ("to stop it all", "nightshift down"),
    ]
    console.rule(f"the whole night took {spent}")
    for name, place in rows:
        console.print(f"{name:>14}  {place}", markup=False, soft_wrap=True)


def report_links(storage: "Storage", date: str) -> list[tuple[str, str]]:
    """Addresses, for a browser on this machine, of the pages of the night's partitions."""
    from workers.jobs import JOBS
    from workers.report import OVERVIEW, report_key

    keys = [OVERVIEW, *(report_key(job, date) for job in JOBS)]
    present = [key for key in keys if storage.head(key)]
    return [
        ("report" if number == 0 else "", storage.presign(key, LINK_EXPIRES_S))
        for number, key in enumerate(present)
    ]


def new_files(files: list[Path]) -> list[Path]:
    """Those to load. Purchases end yesterday, so that each day's are others: the ones that are
    there stay.

    Raises InputError if the store holds inputs other than just these: made-up rows must not get
    among real ones.
    """
    from infra.storage import open_storage
    from workers.inputs.store import input_key, list_input_files

    storage = open_storage(load_settings())
    present = {file: [item.key for item in list_input_files(storage, file.stem)] for file in files}
    for file, found in present.items():
        if found not in ([], [input_key(file.stem, file)]) and file.stem != DATED:
            raise InputError(
                f"the table {file.stem} on {storage.uri} holds other rows already; the demo would mix its "
                "own with them. Run it in another folder (its own stack), or with NIGHTSHIFT_STACK_DIR set to a new one"
            )
    return [file for file, found in present.items() if file.stem != DATED or not found]


def say(*words: str) -> None:
    """Runs one command of ours as its own process, shown as a user would type it; raises if it
    fails."""
    console.print(f"\n$ nightshift {' '.join(words)}", style="bold", markup=False, soft_wrap=True)
    status = subprocess.run([sys.executable, "-m", "flows.cli", *words], check=False).returncode
    if status:
        raise GenerationError(
            f"`nightshift {' '.join(words)}` ended with status {status}; what it said is above"
        )
