"""The commands that read what nights have left: models, export, reports. They need storage, neither
Ray nor Prefect."""

import contextlib
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flows.cli.terminal import JsonOption, console, print_json, print_table
from infra.errors import InputError
from infra.settings import load_settings

if TYPE_CHECKING:
    from infra.storage import Storage
    from workers.registry.versions import ModelVersion


def models(
    job: Annotated[str, typer.Argument(help="A job; without it the models of all jobs.")] = "",
    promote_: Annotated[
        str, typer.Option("--promote", help="Make this version the champion.")
    ] = "",
    rollback: Annotated[
        bool, typer.Option("--rollback", help="Make the champion's predecessor champion again.")
    ] = False,
    tensorboard: Annotated[
        str, typer.Option(help="Opens TensorBoard on the training of this version; Ctrl-C ends it.")
    ] = "",
    json: JsonOption = False,
) -> None:
    """Lists model versions with their held-out metrics; the champion is the one that nights use.

    Examples:

    `nightshift models copywriter --promote 2026-11-22-gpt-1a2b3c4d`

    `nightshift models copywriter --tensorboard 2026-11-22-gpt-1a2b3c4d`
    """
    from infra.storage import open_storage
    from workers.jobs import models_of
    from workers.models import MODELS
    from workers.registry.versions import list_versions, promote, read_champion, roll_back

    storage = open_storage(load_settings())
    names = models_of(job) if job else tuple(MODELS)
    if tensorboard:
        open_tensorboard(storage, find_any(storage, names, tensorboard))
        return
    if promote_ or rollback:
        if len(names) > 1 or (promote_ and rollback):
            raise InputError(
                f"name one model ({', '.join(names)}), and either --promote VERSION or --rollback"
            )
        (name,) = names
        champion = (
            promote(storage, name, promote_, "promoted by hand")
            if promote_
            else roll_back(storage, name)
        )
        console.print(
            f"{champion.version} is the champion of {name} now (before: {champion.previous})",
            markup=False,
        )
        return
    found = {name: (list_versions(storage, name), read_champion(storage, name)) for name in names}
    if json:
        print_json(
            {
                n: {"versions": [asdict(v) for v in vs], "champion": c and asdict(c.champion)}
                for n, (vs, c) in found.items()
            }
        )
        return
    for name, (versions, holder) in found.items():
        current = holder.version if holder else ""
        figures = {**MODELS[name].figures, "CPU s": "cpu_seconds"}
        rows = [
            (
                "champion" if v.version == current else "",
                v.version,
                v.through,
                *metric_cells(v, figures.values()),
            )
            for v in versions
        ]
        print_table(f"Model {name}", ["", "version", "data through", *figures], rows)


def find_any(storage: "Storage", names: Sequence[str], version: str) -> "ModelVersion":
    """The version of that name of one of several models; raises InputError that lists those of the
    last one."""
    from workers.registry.versions import find_version, list_versions

    found = (
        each for name in names for each in list_versions(storage, name) if each.version == version
    )
    return next(found, None) or find_version(storage, names[-1], version)


def open_tensorboard(storage: "Storage", version: "ModelVersion") -> None:
    """Downloads the event files of a version and serves them on this machine until it is
    interrupted."""
    with tempfile.TemporaryDirectory() as folder:
        if not storage.download(f"{version.prefix}tensorboard/", Path(folder)):
            raise InputError(f"{version.version} has no event files")
        words = ("-m", "tensorboard.main", f"--logdir={folder}", "--host=127.0.0.1", "--port=0")
        with contextlib.suppress(KeyboardInterrupt):
            subprocess.run([sys.executable, *words], check=False)


def metric_cells(version: "ModelVersion", names: Iterable[str]) -> list[str]:
    return [f"{version.metrics[name]:.4g}" if name in version.metrics else "" for name in names]


def export(
    job: Annotated[str, typer.Argument(help="A job.")],
    to: Annotated[
        Path, typer.Option(file_okay=False, help="Folder; the rows go to JOB/dt=DATE/ below it.")
    ],
    date: Annotated[str, typer.Option(help="YYYY-MM-DD; without it yesterday (UTC).")] = "",
) -> None:
    """Downloads the published rows of a date as Parquet.

    Example: `nightshift export product_descriptions --date 2026-11-22 --to ./rows`
    """
    from infra.storage import open_storage
    from workers.jobs import find_job
    from workers.partitions.outputs import export_partition
    from workers.pins import parse_date

    storage = open_storage(load_settings())
    folder = export_partition(storage, find_job(job).name, parse_date(date).isoformat(), to)
    console.print(f"exported to {folder}", markup=False)


def reports(
    to: Annotated[
        Path,
        typer.Option(file_okay=False, help="An empty folder; open its index.html with a browser."),
    ],
) -> None:
    """Downloads the pages of all nights: a calendar of what was published, held back or failed, and
    a page of each.

    Example: `nightshift reports --to ./reports`
    """
    from infra.storage import open_storage

    if to.exists() and any(to.iterdir()):
        raise InputError(f"{to} is not empty; choose another folder or remove it first")
    storage = open_storage(load_settings())
    num_files = storage.download("reports/", to)
    if not num_files:
        raise InputError("there are no reports yet; `nightshift nightly` makes the first")
    console.print(
        f"{num_files} pages are in {to}; begin with {to / 'index.html'}",
        markup=False,
        soft_wrap=True,
    )
