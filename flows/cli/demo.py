"""`nightshift demo`: a first night on sample inputs, by the commands that a user would type."""

import subprocess
import sys
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from flows.cli.pages import page_link
from flows.cli.terminal import console, print_text, readable_seconds
from infra.errors import GenerationError, InputError
from infra.settings import Settings, load_settings

if TYPE_CHECKING:
    from infra.storage import Storage

DATED = "interactions"
"""The table whose sample depends on the day."""


def demo(
    products: Annotated[int, typer.Option(min=20, help="Products in the sample catalogue.")] = 300,
    images: Annotated[int, typer.Option(min=70, help="Drawn pictures of products.")] = 840,
    purchases: Annotated[
        int, typer.Option(min=200, help="Simulated purchases of the last sixty days.")
    ] = 2000,
    seed: Annotated[int, typer.Option(help="Other seeds give other products and texts.")] = 0,
) -> None:
    """Starts the local stack, loads sample inputs, trains, runs a night and shows the results.

    Takes a few minutes. The stack keeps running; `nightshift down` stops it. Real work belongs in
    another folder: the sample tables and models stay in this one's store.

    Exit status: 0 done; 1 a command failed; 2 the store already holds other rows.

    Example: `nightshift demo --products 50`
    """
    started = datetime.now(UTC)
    date = (started.date() - timedelta(days=1)).isoformat()
    run_command("up")
    with tempfile.TemporaryDirectory() as folder:
        sizes = ("--products", str(products), "--images", str(images))
        shop = ("--interactions", str(purchases), "--until", date, "--seed", str(seed))
        run_command("inputs", "sample", folder, *sizes, *shop)
        for file in files_to_load(sorted(Path(folder).glob("*.parquet"))):
            run_command("inputs", "put", file.stem, str(file))
    for model in ("product_descriptions", "product_images", "recommender"):
        run_command("train", model, "--date", date, "--quick")
    run_command("nightly", "--date", date)
    run_command("show", "product_descriptions", "--date", date)
    run_command("show")
    run_command("models")
    run_command("status")
    spent = readable_seconds((datetime.now(UTC) - started).total_seconds())
    console.rule(f"the whole night took {spent}")
    print_results(load_settings(), date)


def print_results(settings: Settings, date: str) -> None:
    """Where everything is that the demo made, and the commands that show it."""
    from infra.local.stack import status
    from infra.storage import open_storage

    uri = settings.require_storage()
    lines: list[tuple[str, str | Text]] = [
        ("rows", f"{uri}/outputs/product_descriptions/dt={date}/"),
        ("", f"nightshift export product_descriptions --date {date} --to rows"),
        ("models", f"{uri}/models/"),
        *[("reports", link) for link in report_links(open_storage(settings), date)],
        ("", "nightshift reports --open"),
        ("runs", f"{status(settings).ui_url}/runs"),
        ("stop", "nightshift down"),
    ]
    for name, place in lines:
        console.print(Text.assemble(f"{name:>8}  ", place), soft_wrap=True)


def report_links(storage: "Storage", date: str) -> list[Text]:
    """The pages of the night: the overview, and one of each partition."""
    from workers.jobs import JOBS
    from workers.report import OVERVIEW, report_key

    keys = [OVERVIEW, *(report_key(job, date) for job in JOBS)]
    return [page_link(storage, key) for key in keys if storage.head(key)]


def files_to_load(files: list[Path]) -> list[Path]:
    """The files to load: all but the purchases of an earlier demo, which stay as they are.

    Raises InputError if the store holds other inputs: sample rows must not mix with real ones.
    """
    from infra.storage import open_storage
    from workers.inputs.store import input_key, list_input_files

    storage = open_storage(load_settings())
    wanted = []
    for file in files:
        found = [item.key for item in list_input_files(storage, file.stem)]
        if file.stem == DATED:
            if not found:
                wanted.append(file)
            continue
        if found not in ([], [input_key(file.stem, file)]):
            raise InputError(
                f"the table {file.stem} in {storage.uri} already holds other rows, and the demo "
                "would add its own to them. Run it in another folder, which gets its own stack, "
                "or set NIGHTSHIFT_STACK_DIR to a new folder"
            )
        wanted.append(file)
    return wanted


def run_command(*words: str) -> None:
    """Prints and runs one of our commands as its own process; raises GenerationError if it
    fails."""
    command = f"nightshift {' '.join(words)}"
    print_text(f"\n$ {command}", style="bold")
    status = subprocess.run([sys.executable, "-m", "flows.cli", *words], check=False).returncode
    if status:
        raise GenerationError(f"`{command}` ended with status {status}; its output is above")
