"""The documents: links lead somewhere, commands exist, Python runs, generated pages are current."""

import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

import infra.errors
from docs.generate import COMMAND, FOLDER, commands, pages
from flows.cli.app import app
from infra.errors import NightshiftError
from infra.settings import Settings
from infra.storage import open_storage
from tests.unit.workers.partitions.test_publish import a_plan, run
from workers.inputs.tables import INPUT_TABLES
from workers.jobs import JOBS, models_of
from workers.models import MODELS
from workers.overrides import parse_assignments
from workers.partitions.manifest import manifest_key
from workers.partitions.parts import QUARANTINE
from workers.quality.gates import Gate

REPO_ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = sorted([*REPO_ROOT.glob("*.md"), *(REPO_ROOT / "docs").rglob("*.md")])
BLOCK = re.compile(r"^( *)```(\w*)\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
INLINE_COMMAND = re.compile(r"`(nightshift [^`]+)`", re.DOTALL)
PATH_OF_CODE = re.compile(r"`((?:flows|workers|aigc_models|infra|tests|docs)/[\w./-]+)`")
MAKE = re.compile(r"(?:`|^)make ([a-z]+)", re.MULTILINE)
MAY_NAME_OLD_FILES = (
    "CHANGELOG.md",
    "docs/decisions/",
    "docs/benchmarks.md",
    "docs/experiments.md",
)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
COMMAND_LINE = re.compile(r"(?:^|\s)(nightshift .*)$")
ROOT_COMMAND: Any = typer.main.get_command(app)
COMMANDS = dict(commands(ROOT_COMMAND))


def name_of(document: Path) -> str:
    return document.relative_to(REPO_ROOT).as_posix()


def blocks(document: Path) -> Iterator[tuple[str, str]]:
    """The language and the text of each fenced block."""
    for _, language, text in BLOCK.findall(document.read_text()):
        yield language, text


def python_blocks() -> list[Any]:
    return [
        pytest.param(text, id=f"{name_of(document)}-{number}")
        for document in DOCUMENTS
        for number, (language, text) in enumerate(blocks(document))
        if language == "python"
    ]


def command_lines() -> list[Any]:
    """Every line of a block that calls the command line, without its comment."""
    found = {
        (name_of(document), match[1])
        for document in DOCUMENTS
        for language, text in blocks(document)
        if language in ("", "sh", "bash")
        for line in text.replace("\\\n", " ").splitlines()
        if (match := COMMAND_LINE.search(line.partition(" #")[0]))
    }
    return [pytest.param(line, id=f"{name}-{line}") for name, line in sorted(found)]


def slugs(document: Path) -> set[str]:
    """The anchors that GitHub gives a page's headings."""
    headings = re.findall(r"^#+ (.+)$", document.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("name", pages())
def test_each_generated_page_is_current(name: str) -> None:
    current = (FOLDER / name).read_text()
    assert current == pages()[name], f"{name} is out of date: run `{COMMAND}`"


def test_the_page_of_tables_names_each_column_of_each_table() -> None:
    page = (FOLDER / "tables.md").read_text()
    for table in INPUT_TABLES.values():
        (row,) = re.findall(rf"^\| `{table.name}` \| (.*) \|$", page, re.MULTILINE)
        for column in table.columns:
            assert f"`{column.name}`{'' if column.required else '?'} " in row, column.name


def test_the_page_of_gates_names_each_gate_of_each_job() -> None:
    found: dict[str, list[Gate]] = {}
    names: list[str] = []
    page = (FOLDER / "gates-and-figures.md").read_text()
    for line in re.findall(r"^\|(.*\| [\d.]+) \|$", page, re.MULTILINE):
        jobs, figure, kind, limit = (cell.strip() for cell in line.split("|"))
        names = re.findall(r"`(\w+)`", jobs) or names
        for name in names:
            found.setdefault(name, []).append(Gate(figure.strip("`"), kind, float(limit)))
    assert found == {job.name: list(job.gates) for job in JOBS.values()}


def test_the_page_of_exit_codes_names_each_error() -> None:
    page = (FOLDER / "exit-codes.md").read_text()
    found = dict(re.findall(r"^\| `(\w+)` \| (\d) \|", page, re.MULTILINE))
    errors = {
        name: str(each.exit_code)
        for name, each in vars(infra.errors).items()
        if isinstance(each, type) and issubclass(each, NightshiftError)
    }
    assert found == errors


def test_the_page_of_storage_names_each_column_and_each_field_of_a_manifest(
    tmp_path: Path,
) -> None:
    page = (FOLDER / "storage-layout.md").read_text()
    storage, plan = open_storage(Settings(storage_uri=f"file://{tmp_path}")), a_plan()
    run(storage, plan)
    fields = json.loads(storage.get(manifest_key(plan.job, plan.date)))
    columns = [name for job in JOBS.values() for name in job.schema.names]
    for name in {*fields, *columns, *QUARANTINE.names}:
        assert f"`{name}`" in page, name


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_each_relative_link_leads_somewhere(document: Path) -> None:
    text = BLOCK.sub("", document.read_text())
    for link in LINK.findall(text):
        path, _, anchor = link.partition("#")
        if ":" in path:
            continue
        target = (document.parent / path).resolve() if path else document
        assert target.exists(), f"{name_of(document)} links to {link}"
        if anchor:
            assert anchor in slugs(target), f"{name_of(document)} links to {link}"


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_each_file_of_the_code_and_each_make_target_that_is_named_exists(document: Path) -> None:
    if name_of(document).startswith(MAY_NAME_OLD_FILES):
        pytest.skip("it may name files that no longer exist")
    text = document.read_text()
    absent = [path for path in PATH_OF_CODE.findall(text) if not (REPO_ROOT / path).exists()]
    targets = set(re.findall(r"^([a-z]+):", (REPO_ROOT / "Makefile").read_text(), re.MULTILINE))
    assert not absent
    assert set(MAKE.findall(text)) <= targets


@pytest.mark.parametrize("line", command_lines())
def test_each_command_line_is_one_that_the_command_line_takes(line: str) -> None:
    words = shlex.split(line)[1:]
    context = ROOT_COMMAND.make_context("nightshift", words)
    command = ROOT_COMMAND
    while hasattr(command, "commands"):
        name, command, words = command.resolve_command(
            context, [*context._protected_args, *context.args]
        )
        context = command.make_context(name, list(words), parent=context)
    check_settings(command.name, context.params)


def check_settings(command: str, parameters: dict[str, Any]) -> None:
    """Raises InputError where `--set` names a setting that the job or the model does not have."""
    if not parameters.get("set_"):
        return
    assignments = parse_assignments(parameters["set_"])
    if command == "train":
        (model,) = models_of(parameters["what"])
        families = parameters["model"].split(",")
        for family in families:
            MODELS[model].parse_settings(family, assignments)
    elif parameters["job"] in JOBS:  # else a placeholder such as JOB
        JOBS[parameters["job"]].parse_settings(assignments)


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_each_command_in_a_sentence_exists_and_has_the_options_named(document: Path) -> None:
    text = BLOCK.sub("", document.read_text())
    for line in INLINE_COMMAND.findall(text):
        words = line.split()
        path = next(
            (each for each in (" ".join(words[:3]), " ".join(words[:2])) if each in COMMANDS), None
        )
        if path is None:
            assert words[1] in {*ROOT_COMMAND.commands, "--help"}, f"{name_of(document)}: `{line}`"
            continue
        known = {
            name for each in COMMANDS[path].params for name in (*each.opts, *each.secondary_opts)
        }
        named = {word.strip("[]…").partition("=")[0] for word in words if word.startswith("--")}
        assert named <= known | {"--help"}, f"{name_of(document)}: `{line}`"


@pytest.mark.parametrize("code", python_blocks())
def test_each_python_block_runs_as_it_stands(
    code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = open_storage(Settings(storage_uri=f"file://{tmp_path}/store"))
    run(storage, a_plan())
    monkeypatch.setenv("NIGHTSHIFT_STORAGE_URI", storage.uri)
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "document", "exec"), {"__name__": "document"})
