"""`nightshift inputs`: loading the input tables."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flows.cli.terminal import JsonOption, console, print_json, print_table
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
            help="Let these files be the whole table: what was loaded before is removed afterwards."
        ),
    ] = False,
) -> None:
    """Checks every row of FILES against the table's schema, then uploads them as Parquet.

    Nothing is uploaded if anything is wrong; a file that was loaded before is not loaded twice.

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
        summary = put_table(
            storage,
            table,
            files,
            replace=replace,
            on_progress=lambda name, rows: bar.update(
                task, description=f"checking {name}", completed=rows
            ),
        )
    console.print(
        f"{table}: {summary.num_rows:,} rows checked, {summary.num_uploaded} files uploaded, "
        f"{summary.num_present} were there already, {summary.num_removed} removed",
        markup=False,
    )


@app.command()
def sample(
    folder: Annotated[
        Path, typer.Argument(help="Where the files go: one Parquet file for each table.")
    ],
    products: Annotated[int, typer.Option(min=0, help="Rows of the catalogue.")] = 300,
    examples: Annotated[int, typer.Option(min=0, help="Texts to learn from.")] = 3000,
    requests: Annotated[int, typer.Option(min=0, help="Texts asked for.")] = 200,
    images: Annotated[int, typer.Option(min=0, help="Drawn pictures.")] = 0,
    interactions: Annotated[int, typer.Option(min=0, help="Simulated purchases.")] = 0,
    until: Annotated[
        str, typer.Option(help="YYYY-MM-DD, the last of the sixty days with purchases.")
    ] = "2026-10-30",
    seed: Annotated[int, typer.Option(help="Another seed makes another shop.")] = 0,
) -> None:
    """Makes up a shop: catalogue, texts, pictures, purchases. The same seed gives the same files.

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
        console.print(f"wrote {path}", markup=False, soft_wrap=True)


@app.command(name="list")
def list_tables(json: JsonOption = False) -> None:
    """Lists what is loaded: files, rows and bytes of each table."""
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
    """Files, rows and bytes of a table; raises InputError where a file does not fit it."""
    from workers.inputs.store import check_inputs, list_input_files

    files = check_inputs(storage, table) if list_input_files(storage, table) else []
    return {
        "table": table,
        "files": len(files),
        "rows": sum(file.footer.num_rows for file in files),
        "size_bytes": sum(file.info.size_bytes for file in files),
    }
