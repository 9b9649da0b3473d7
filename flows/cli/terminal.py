"""What the commands share on the terminal: a console, tables, links, readable numbers, JSON."""

import json
import sys
from collections.abc import Sequence
from math import isnan
from typing import Annotated, Any

import typer
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")]
SPARKS = "▁▂▃▄▅▆▇█"
COLUMN_GAP = 2
console = Console(highlight=False, width=None if sys.stdout.isatty() else 150)


def print_text(text: str, style: str = "") -> None:
    """Prints text unchanged: without markup, without line breaks at the terminal's width."""
    console.print(text, style=style, markup=False, soft_wrap=True)


def link(text: str, url: str) -> Text:
    """Text that opens `url` when it is clicked; plain text where the output is not a terminal."""
    return Text(text, style=f"link {url}")


def print_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Prints a table that fits into the terminal.

    Lines break between words only, so that an id can be copied. If the terminal is too narrow for
    that, each row becomes a block of `name  value` lines. Cells never become markup; a `Text` keeps
    its style.
    """
    cells = [[_as_text(cell) for cell in row] for row in rows]
    header = [Text(column) for column in columns]
    widths = _column_widths([header, *cells], console.width)
    console.print(title, style="italic", markup=False)
    if widths is None:
        _print_blocks(columns, cells)
        return
    table = Table(
        header_style="bold",
        box=box.SIMPLE_HEAD,
        show_edge=False,
        pad_edge=False,
        padding=(0, 1, 0, 0),
    )
    for column, width in zip(columns, widths, strict=True):
        table.add_column(column, width=width, overflow="fold")
    for row in cells:
        table.add_row(*row)
    console.print(table)


def _as_text(cell: Any) -> Text:
    if isinstance(cell, Text):
        return cell
    return Text("" if cell is None else str(cell))


def _column_widths(rows: Sequence[Sequence[Text]], available: int) -> list[int] | None:
    """The width of each column; None where some word would have to be broken."""
    columns = list(zip(*rows, strict=True))
    least = [max(_longest_word(cell) for cell in column) for column in columns]
    wanted = [max(cell.cell_len for cell in column) for column in columns]
    spare = available - sum(least) - COLUMN_GAP * (len(columns) - 1)
    if spare < 0:
        return None
    widths = least.copy()
    narrow_first = sorted(range(len(columns)), key=lambda index: wanted[index] - least[index])
    for num_done, index in enumerate(narrow_first):
        share = spare // (len(columns) - num_done)
        extra = min(wanted[index] - least[index], share)
        widths[index] += extra
        spare -= extra
    return widths


def _longest_word(text: Text) -> int:
    return max((Text(word).cell_len for word in text.plain.split()), default=1)


def _print_blocks(columns: Sequence[str], rows: Sequence[Sequence[Text]]) -> None:
    """The first cell of each row as a heading, the others below it."""
    width = max(map(len, columns[1:]))
    for row in rows:
        console.print(Text.assemble(row[0], style="bold"), soft_wrap=True)
        for name, cell in zip(columns[1:], row[1:], strict=True):
            if cell.plain:
                console.print(Text.assemble(f"  {name:<{width}}  ", cell), soft_wrap=True)


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
    """A bar for each value, scaled between the smallest and the largest; a blank for NaN."""
    known = [value for value in values if not isnan(value)]
    low = min(known, default=0.0)
    span = max(known, default=0.0) - low
    return "".join(_bar(value, low, span) for value in values)


def _bar(value: float, low: float, span: float) -> str:
    if isnan(value):
        return " "
    height = (value - low) / span if span else 0.0
    return SPARKS[round(height * (len(SPARKS) - 1))]
