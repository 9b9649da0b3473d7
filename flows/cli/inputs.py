"""`nightshift inputs`: loading the input tables."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flows.cli.terminal import JsonOption, console, print_json, print_table, print_text
from infra.settings import load_settings
from workers.inputs.tables import INPUT_TABLES

if TYPE_CHECKING:
    from infra.storage import Storage

app = typer.Typer(help="Load and list the input tables.", no_args_is_help=True)
TABLE_HELP = f"One of {', '.join(INPUT_TABLES)}."


@app.command()
def put(
    table: Annotated[str, typer.Argument(help=TABLE_HELP)],
    files: Annotated[
        list[Path],
        typer.Argument(help="Parquet (.parquet), CSV (.csv) or JSON Lines (.jsonl) files."),
    ],
    replace: Annotated[
        bool,
        typer.Option(
            help="Make these files the whole table: files loaded before are removed afterwards."
        ),
    ] = False,
) -> None:
    """Checks every row of FILES against the table's schema, then uploads them as Parquet.

    One bad row, and nothing is uploaded. A file that is already loaded is not loaded twice.

    Exit status: 0 loaded; 2 a row, a column or a file is wrong.

    Example: `nightshift inputs put catalog products.csv`
    """
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    from infra.storage import open_storage
    from workers.inputs.store import put_table

    storage = open_storage(load_settings())
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed:,.0f} rows"),
        TimeElapsedColumn(),
    )
    with Progress(
        *columns, console=console, transient=True, disable=not console.is_terminal
    ) as bar:
        task = bar.add_task("checking", total=None)

        def show_progress(name: str, num_rows: int) -> None:
            bar.update(task, description=f"checking {name}", completed=num_rows)

        summary = put_table(storage, table, files, replace=replace, on_progress=show_progress)
    print_text(
        f"{table}: {summary.num_rows:,} rows checked, {summary.num_uploaded} files uploaded, "
        f"{summary.num_present} already there, {summary.num_removed} removed"
    )


@app.command()
def sample(
    folder: Annotated[
        Path, typer.Argument(help="The folder for the files: one Parquet file for each table.")
    ],
    products: Annotated[int, typer.Option(min=0, help="Rows of the catalogue.")] = 300,
    examples: Annotated[int, typer.Option(min=0, help="Texts to train on.")] = 3000,
    requests: Annotated[int, typer.Option(min=0, help="Requests for texts.")] = 200,
    images: Annotated[int, typer.Option(min=0, help="Drawn pictures.")] = 0,
    interactions: Annotated[int, typer.Option(min=0, help="Simulated purchases.")] = 0,
    until: Annotated[
        str, typer.Option(help="YYYY-MM-DD, the last of sixty days of purchases.")
    ] = "2026-10-30",
    seed: Annotated[int, typer.Option(help="Other seeds give other shops.")] = 0,
) -> None:
    """Writes the tables of a sample shop: catalogue, texts, pictures, purchases.

    The same options give the same files. Load them with `nightshift inputs put`.

    Example: `nightshift inputs sample shop --products 1000000 --examples 0`
    """
    from workers.pins import parse_date
    from workers.samples import write_samples

    files = write_samples(
        folder,
        num_products=products,
        num_examples=examples,
        num_requests=requests,
        num_images=images,
        num_interactions=interactions,
        seed=seed,
        last_day=parse_date(until),
    )
    for path in files.values():
        print_text(f"wrote {path}")


@app.command(name="list")
def list_tables(json: JsonOption = False) -> None:
    """Lists the input tables: the files, rows and bytes of each.

    Example: `nightshift inputs list`
    """
    from infra.storage import open_storage

    storage = open_storage(load_settings())
    rows = [describe(storage, name) for name in INPUT_TABLES]
    if json:
        print_json(rows)
    else:
        cells = [
            (row["table"], f"{row['files']:,}", f"{row['rows']:,}", f"{row['size_bytes']:,}")
            for row in rows
        ]
        print_table("Input tables", ["table", "files", "rows", "bytes"], cells)


def describe(storage: "Storage", table: str) -> dict[str, Any]:
    """Files, rows and bytes of a table; raises InputError where a file does not fit its schema."""
    from workers.inputs.store import check_inputs, list_input_files

    files = check_inputs(storage, table) if list_input_files(storage, table) else []
    return {
        "table": table,
        "files": len(files),
        "rows": sum(file.footer.num_rows for file in files),
        "size_bytes": sum(file.info.size_bytes for file in files),
    }
