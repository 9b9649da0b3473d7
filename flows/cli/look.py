"""The commands that read what nights have left: models and export. They need storage only."""

import contextlib
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flows.cli.terminal import JsonOption, print_json, print_table, print_text
from infra.errors import InputError
from infra.settings import load_settings

if TYPE_CHECKING:
    from infra.storage import Storage
    from workers.registry.versions import ModelVersion


def models(
    job: Annotated[str, typer.Argument(help="A job or a model. Default: all models.")] = "",
    promote_: Annotated[
        str, typer.Option("--promote", help="Make this version the champion.")
    ] = "",
    rollback: Annotated[
        bool, typer.Option("--rollback", help="Make the previous champion the champion again.")
    ] = False,
    tensorboard: Annotated[
        str, typer.Option(help="Open TensorBoard for this version; Ctrl-C stops it.")
    ] = "",
    json: JsonOption = False,
) -> None:
    """Lists model versions with their held-out metrics. Nights use the champion.

    A version's name starts with the last day of its training data.

    Examples:

    `nightshift models`

    `nightshift models copywriter --promote 2026-11-22-gpt-1a2b3c4d`

    `nightshift models copywriter --tensorboard 2026-11-22-gpt-1a2b3c4d`
    """
    from infra.storage import open_storage
    from workers.jobs import models_of
    from workers.models import MODELS

    storage = open_storage(load_settings())
    names = models_of(job) if job else tuple(MODELS)
    if tensorboard:
        open_tensorboard(storage, find_any(storage, names, tensorboard))
    elif promote_ or rollback:
        change_champion(storage, names, promote_, rollback=rollback)
    elif json:
        print_json({name: versions_as_json(storage, name) for name in names})
    else:
        for name in names:
            print_versions(storage, name)


def change_champion(
    storage: "Storage", names: Sequence[str], version: str, *, rollback: bool
) -> None:
    """Promotes `version`, or rolls back; raises InputError unless exactly one of both is asked."""
    from workers.registry.versions import promote, roll_back

    if len(names) > 1 or (version and rollback):
        raise InputError(
            f"name one model ({', '.join(names)}), and either --promote VERSION or --rollback"
        )
    (name,) = names
    if rollback:
        champion = roll_back(storage, name)
    else:
        champion = promote(storage, name, version, "promoted by hand")
    print_text(f"{champion.version} is now the champion of {name} (before: {champion.previous})")


def versions_as_json(storage: "Storage", name: str) -> dict[str, object]:
    from workers.registry.versions import list_versions, read_champion

    champion = read_champion(storage, name)
    return {
        "versions": [asdict(version) for version in list_versions(storage, name)],
        "champion": champion and asdict(champion.champion),
    }


def print_versions(storage: "Storage", name: str) -> None:
    from workers.models import MODELS
    from workers.registry.versions import list_versions, read_champion

    holder = read_champion(storage, name)
    champion = holder.version if holder else ""
    figures = {**MODELS[name].figures, "CPU s": "cpu_seconds"}
    rows = [
        (
            version.version,
            *metric_cells(version, figures.values()),
            "champion" if version.version == champion else "",
        )
        for version in list_versions(storage, name)
    ]
    print_table(f"Model {name}", ["version", *figures, "state"], rows)


def find_any(storage: "Storage", names: Sequence[str], version: str) -> "ModelVersion":
    """The version with that name, of any of the models.

    Raises InputError that lists the versions of the last model.
    """
    from workers.registry.versions import find_version, list_versions

    for name in names:
        for found in list_versions(storage, name):
            if found.version == version:
                return found
    return find_version(storage, names[-1], version)


def open_tensorboard(storage: "Storage", version: "ModelVersion") -> None:
    """Downloads a version's event files and serves them on this machine until Ctrl-C."""
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
        Path, typer.Option(file_okay=False, help="A folder; the rows go to JOB/dt=DATE/ in it.")
    ],
    date: Annotated[str, typer.Option(help="YYYY-MM-DD. Default: yesterday (UTC).")] = "",
) -> None:
    """Downloads the published rows of a date as Parquet files.

    Exit status: 0 downloaded, 2 nothing is published for that date.

    Example: `nightshift export product_descriptions --date 2026-11-22 --to ./rows`
    """
    from infra.storage import open_storage
    from workers.jobs import find_job
    from workers.partitions.outputs import export_partition
    from workers.pins import parse_date

    storage = open_storage(load_settings())
    folder = export_partition(storage, find_job(job).name, parse_date(date).isoformat(), to)
    print_text(f"exported to {folder}")
