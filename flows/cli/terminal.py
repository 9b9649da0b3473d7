"""What commands share on the terminal: a console, sizes and times people can read, JSON for
scripts."""

import json
import sys
from collections.abc import Sequence
from math import isnan
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

JsonOption = Annotated[bool, typer.Option("--json", help="For scripts.")]
SPARKS = "▁▂▃▄▅▆▇█"
console = Console(highlight=False, width=None if sys.stdout.isatty() else 150)


def print_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """A table whose cells are shown as they are: data never becomes markup."""
    table = Table(title=title, title_justify="left", header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(Text("" if cell is None else str(cell)) for cell in row))
    console.print(table)


def print_json(value: Any) -> None:
    print(json.dumps(value, indent=2, default=str, ensure_ascii=False))


def readable_count(number: int | None) -> str:
    return "" if number is None else f"{number:,}"


def readable_seconds(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{seconds:.1f} s"


def sparkline(values: Sequence[float]) -> str:
    """A bar for each value, between the smallest and the largest; a blank for NaN."""
    known = [value for value in values if not isnan(value)]
    low, span = min(known, default=0.0), max(known, default=0.0) - min(known, default=0.0)
    heights = [
        " " if isnan(v) else SPARKS[round((v - low) / span * (len(SPARKS) - 1)) if span else 0]
        for v in values
    ]
    return "".join(heights)
