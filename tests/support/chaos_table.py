"""The table of kills and their outcomes."""

from dataclasses import dataclass

from rich.console import Console
from rich.table import Table


@dataclass(frozen=True, slots=True)
class End:
    """How a disturbed run ended; with status 0 it published nevertheless."""

    status: int
    last_words: str


@dataclass(frozen=True, slots=True)
class Kill:
    name: str
    """The victim, or the step of publishing."""
    end: End
    kept: int
    """Shards that the rerun found finished and not yet published."""
    lost: int
    doubled: int
    """Rows, in comparison with the undisturbed run."""
    problems: list[str]


def progress_line(kill: Kill, number: int, seconds: float) -> str:
    ended = f"the run ended with {kill.end.status}, one rerun"
    if kill.end.status > 0:
        ended += f" ({kill.end.last_words.strip()})"
    came = "the run survived" if kill.end.status == 0 else ended
    verdict = "; ".join(kill.problems) or "same bytes"
    return f"{number:4} {seconds:6.0f} s  {kill.name}: {came}, {kill.kept} shards kept, {verdict}"


def print_table(kills: list[Kill]) -> None:
    table = Table()
    table.add_column("killed", no_wrap=True)
    for heading in (
        "kills",
        "run survived",
        "one rerun",
        "shards kept",
        "lost rows",
        "doubled rows",
        "other",
    ):
        table.add_column(heading, justify="right")
    for name in sorted({kill.name for kill in kills}):
        _add_row(table, name, [kill for kill in kills if kill.name == name])
    table.add_section()
    _add_row(table, "all", kills)
    console = Console(width=130)
    console.print(table)
    for kill in kills:
        for problem in kill.problems:
            console.print(f"{kill.name}: {problem}", markup=False)


def _add_row(table: Table, name: str, kills: list[Kill]) -> None:
    kept = [kill.kept for kill in kills]
    figures = (
        len(kills),
        sum(kill.end.status == 0 for kill in kills),
        sum(kill.end.status != 0 for kill in kills),
        f"{min(kept)}-{max(kept)}",
        sum(kill.lost for kill in kills),
        sum(kill.doubled for kill in kills),
        sum(bool(kill.problems) for kill in kills),
    )
    table.add_row(name, *(str(figure) for figure in figures))
