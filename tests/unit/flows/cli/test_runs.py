"""The commands that run flows refuse wrong usage before they call a server."""

import pytest
from typer.testing import CliRunner

from flows.cli.app import app
from infra.errors import InputError

RANGE = ("backfill", "product_descriptions", "--start", "2026-11-01", "--end", "2026-11-02")


def test_force_and_retry_quarantined_exclude_each_other() -> None:
    result = CliRunner().invoke(
        app, ["run", "product_descriptions", "--force", "--retry-quarantined"]
    )
    assert isinstance(result.exception, InputError)
    assert "leave one of them out" in str(result.exception)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("--mode", "some"), "'some' is not one of missing, failed, stale, all"),
        (("--order", "random"), "'random' is not one of oldest, newest"),
        (("--max-parallel", "0"), "should be greater than or equal to 1"),
        (("--num-actors", "-1"), "should be greater than or equal to 0"),
    ],
)
def test_a_backfill_refuses_unknown_choices_and_wrong_numbers(
    words: tuple[str, ...], expected: str
) -> None:
    result = CliRunner().invoke(app, [*RANGE, *words])
    assert result.exit_code == 2
    assert expected in " ".join(result.output.replace("│", " ").split())
