from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

import infra.local
from flows.cli.app import app
from infra.errors import ServiceError
from infra.settings import load_settings


@pytest.fixture
def _running_stack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What `status` finds of a stack that runs; no Prefect server answers for it."""
    monkeypatch.setenv("NIGHTSHIFT_STACK_DIR", str(tmp_path))
    load_settings.cache_clear()
    found = infra.local.status(load_settings())
    processes = tuple(replace(process, pid=1, answers=True) for process in found.processes)
    monkeypatch.setattr(infra.local, "status", lambda settings: replace(found, processes=processes))
    yield
    load_settings.cache_clear()


@pytest.mark.usefixtures("_running_stack")
def test_the_stacks_processes_are_shown_although_prefect_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREFECT_API_URL", "")
    result = CliRunner().invoke(app, ["status"])
    assert isinstance(result.exception, ServiceError)
    assert "prefect-server" in result.output


@pytest.mark.usefixtures("_running_stack")
def test_scripts_get_json_or_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREFECT_API_URL", "")
    assert CliRunner().invoke(app, ["status", "--json"]).output == ""
