"""Tables fit into the terminal and keep ids whole."""

import io

import pytest
from rich.console import Console

from flows.cli import terminal
from workers.models import MODELS

VERSION = "2026-11-30-image-generator-3182a8fd"


@pytest.fixture
def output(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    output = io.StringIO()
    monkeypatch.setattr(terminal, "console", Console(file=output, width=80))
    return output


def test_long_cells_break_between_words_and_ids_stay_whole(output: io.StringIO) -> None:
    reason = "the share of rows that passed every check is too low for this partition"
    terminal.print_table("Held", ["version", "why", "what to do"], [(VERSION, reason, reason)])
    text = output.getvalue()
    assert max(map(len, text.splitlines())) <= 80
    assert VERSION in text
    assert {"partition", "passed"} <= set(text.split())


def test_a_table_that_is_too_wide_becomes_a_block_for_each_row(output: io.StringIO) -> None:
    url = f"http://127.0.0.1:4200/{VERSION}"
    terminal.print_table("Runs", ["run", "page", "state"], [(VERSION, url, ""), ("b", url, "late")])
    assert output.getvalue().splitlines() == [
        "Runs",
        VERSION,
        f"  page   {url}",
        "b",
        f"  page   {url}",
        "  state  late",
    ]


@pytest.mark.parametrize("name", MODELS)
def test_the_metrics_of_every_model_fit_into_80_columns(output: io.StringIO, name: str) -> None:
    figures = MODELS[name].figures
    row = ("2026-11-30-gpt-6ef7671e", *(["-0.2241"] * len(figures)), "300.5", "champion")
    terminal.print_table(f"Model {name}", ["version", *figures, "CPU s", "state"], [row, row])
    lines = output.getvalue().splitlines()
    assert max(map(len, lines)) <= 80
    assert sum(row[0] in line for line in lines) == 2


def test_an_empty_table_has_a_header(output: io.StringIO) -> None:
    terminal.print_table("Partitions", ["job", "date"], [])
    assert output.getvalue().split() == ["Partitions", "job", "date", *["─" * 9]]


def test_cells_are_not_markup(output: io.StringIO) -> None:
    terminal.print_table("Cells", ["cell"], [("[red]text[/]",)])
    assert "[red]text[/]" in output.getvalue()


def test_a_link_is_a_click_in_a_terminal_and_text_elsewhere() -> None:
    url = "http://127.0.0.1/page?X-Amz-Signature=1"
    for is_terminal in (True, False):
        console = Console(
            file=io.StringIO(),
            force_terminal=is_terminal,
            color_system="standard" if is_terminal else None,
        )
        console.print(terminal.link("page", url))
        shown = console.file.getvalue()  # type: ignore[attr-defined]
        assert "page" in shown
        assert (url in shown) == is_terminal
