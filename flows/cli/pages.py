"""Report pages: the command `reports`, and how other commands point to a page.

Presigned addresses have about 400 characters and are never printed. A terminal that follows links
gets them behind a short text; the command that opens the page is printed beside it.
"""

import tempfile
import webbrowser
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from flows.cli.terminal import console, link, print_text
from infra.errors import InputError
from infra.settings import load_settings

if TYPE_CHECKING:
    from infra.storage import Storage

LINK_EXPIRES_S = 24 * 3600
REPORTS = "reports/"
PAGE = "index.html"


def reports(
    job: Annotated[str, typer.Argument(help="A job. Default: the overview of all jobs.")] = "",
    date: Annotated[
        str, typer.Option(help="YYYY-MM-DD, one page of JOB. Default with --open: its newest page.")
    ] = "",
    to: Annotated[
        Path | None,
        typer.Option(
            file_okay=False, help="An empty folder for the pages. Default with --open: a new one."
        ),
    ] = None,
    open_: Annotated[
        bool, typer.Option("--open", help="Open the page in a browser, and print its path.")
    ] = False,
) -> None:
    """Downloads report pages: a calendar of all nights, and a page for each partition.

    Exit status: 0 downloaded, 2 there are no such pages.

    Examples:

    `nightshift reports --open`

    `nightshift reports product_descriptions --date 2026-11-22 --open`

    `nightshift reports --to ./reports`
    """
    from infra.storage import open_storage

    if to is None and not open_:
        raise InputError("choose --to DIR to download the pages, or --open to look at one")
    if date and not job:
        raise InputError("--date needs a JOB")
    if to and to.exists() and any(to.iterdir()):
        raise InputError(f"{to} is not empty; choose another folder or remove it first")
    storage = open_storage(load_settings())
    prefix = pages_prefix(storage, job, date, is_one_page=open_)
    folder = to or Path(tempfile.mkdtemp(prefix="nightshift-reports-"))
    num_files = storage.download(prefix, folder)
    if not num_files:
        raise InputError("there are no reports yet; `nightshift nightly` makes the first")
    page = folder / PAGE
    if open_ and webbrowser.open(page.resolve().as_uri()):
        print_text(f"opened {page} in a browser")
    elif open_:
        print_text(f"no browser was found; the page is {page}")
    else:
        print_text(f"{num_files} files are in {folder}; start with {page}")


def pages_prefix(storage: "Storage", job: str, date: str, *, is_one_page: bool) -> str:
    """The folder of the store that holds the pages; raises InputError where the job has none."""
    from workers.jobs import find_job
    from workers.pins import parse_date
    from workers.report import report_key

    if not job:
        return REPORTS
    name = find_job(job).name
    if date:
        key = report_key(name, parse_date(date).isoformat())
        if not storage.head(key):
            raise InputError(
                f"there is no page {key}; `nightshift show {name}` lists what there is"
            )
        return key.removesuffix(PAGE)
    keys = [item.key for item in storage.list(f"{REPORTS}{name}/") if item.key.endswith(PAGE)]
    if not keys:
        raise InputError(f"{name} has no reports yet; `nightshift run {name}` makes the first")
    return max(keys).removesuffix(PAGE) if is_one_page else f"{REPORTS}{name}/"


def page_link(storage: "Storage", key: str) -> Text:
    """The key of a page; a click opens it where the output is a terminal."""
    return link(key, storage.presign(key, LINK_EXPIRES_S))


def print_page(storage: "Storage", job: str, date: str) -> None:
    """Where a partition's page is and how to open it; nothing where there is none."""
    from workers.report import report_key

    key = report_key(job, date)
    if storage.head(key):
        console.print("Report:", page_link(storage, key), soft_wrap=True)
        print_text(f"  nightshift reports {job} --date {date} --open")
