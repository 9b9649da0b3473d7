"""The layers: imports never go up, packages and files form no circle, each library has its home."""

import ast
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

REPO_ROOT = Path(__file__).resolve().parents[2]
MAY_IMPORT = {
    "infra": set(),
    "aigc_models": set(),
    "workers": {"aigc_models", "infra"},
    "flows": {"workers", "aigc_models", "infra"},
}
ORDER = (
    *("infra.errors", "infra.settings", "infra.storage", "infra.local"),
    *(
        f"aigc_models.{name}"
        for name in ("rounding", "seeds", "noise", "device", "checkpoint", "tracing")
    ),
    *("aigc_models.layers", "aigc_models.training"),
    *("aigc_models.text.language", "aigc_models.text.networks", "aigc_models.text"),
    *("aigc_models.images.networks", "aigc_models.images", "aigc_models.recommenders"),
    *("workers.overrides", "workers.pins", "workers.model", "workers.quality", "workers.job"),
    *("workers.text_rows", "workers.inputs", "workers.plans", "workers.partitions"),
    *("workers.models", "workers.registry", "workers.recommendations", "workers.jobs"),
    *("workers.actors", "workers.training", "workers.generation"),
    *("workers.samples", "workers.report"),
    *("flows.parameters", "flows.server", "flows.run_page", "flows.champion", "flows.train"),
    "flows.partition",
    *("flows.dates", "flows.generate", "flows.nightly", "flows.backfill", "flows.cli"),
)
"""Packages, and modules that lie beside them, from the lowest to the highest: each imports only
what stands before it. `TYPE_CHECKING` imports do not count."""
MAX_FILES = 15
HOMES = {"ray": ("workers/", "infra/local/"), "prefect": ("flows/",)}
COMPANIONS_OF_TORCH = {"torch", "numpy", "safetensors", "tokenizers", "sacrebleu", "tensorboard"}
READS_ENVIRONMENT = "infra/settings.py"
STANDARD_LIBRARY = sys.stdlib_module_names


def violations(path: str, source: str) -> Iterator[str]:
    """What `source`, lying at `path` below the repository, does that its layer may not."""
    package = path.split("/", maxsplit=1)[0]
    tree = ast.parse(source)
    for module in _imported_modules(tree):
        top = module.split(".", maxsplit=1)[0]
        if top in MAY_IMPORT and top != package and top not in MAY_IMPORT[package]:
            yield f"{path} imports {module}, which lies above or beside it"
        if top in HOMES and not path.startswith(HOMES[top]):
            yield f"{path} imports {module}, whose home is {' and '.join(HOMES[top])}"
        if package == "aigc_models" and top not in COMPANIONS_OF_TORCH | STANDARD_LIBRARY | {
            package
        }:
            yield f"{path} imports {module}, which a bare machine with torch does not have"
    if path != READS_ENVIRONMENT and _touches_environment(tree):
        yield f"{path} touches the environment, which is the business of {READS_ENVIRONMENT}"


def _imported_modules(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield f".{node.module or ''}" if node.level else str(node.module)
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith(
            ("import_module", "__import__")
        ):
            yield from (
                str(argument.value)
                for argument in node.args[:1]
                if isinstance(argument, ast.Constant)
            )


def _touches_environment(tree: ast.AST) -> bool:
    names = {"environ", "environb", "getenv", "putenv", "unsetenv"}
    ways = {f"os.{name}" for name in names} | {"dotenv.load_dotenv"}
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and ast.unparse(node) in ways:
            return True
        if isinstance(node, ast.ImportFrom) and ways & {
            f"{node.module}.{alias.name}" for alias in node.names
        }:
            return True
    return False


def package_of(module: str) -> str:
    """The entry of ORDER that `module` belongs to; the module itself where there is none."""
    parts = module.split(".")
    names = (".".join(parts[:length]) for length in range(len(parts), 0, -1))
    return next((name for name in names if name in ORDER), module)


def misplaced(imports: Mapping[str, set[str]]) -> Iterator[str]:
    """Imports of a package that does not stand before the importing one in ORDER."""
    for module, imported in imports.items():
        package = package_of(module)
        if package not in ORDER:
            yield f"{module} has no place in ORDER"
            continue
        for other in sorted(imported):
            wanted = package_of(other)
            if wanted != package and wanted in ORDER[ORDER.index(package) :]:
                yield f"{module} imports {other}, which stands above {package} in ORDER"


def circle(imports: Mapping[str, set[str]]) -> str:
    """A circle of modules that import each other, or an empty text."""
    try:
        TopologicalSorter(imports).prepare()
    except CycleError as exc:
        return " -> ".join(exc.args[1])
    return ""


def crowded(paths: list[Path]) -> list[str]:
    """Folders with more than MAX_FILES files."""
    counts = Counter(path.parent for path in paths)
    return [f"{folder} has {count} files" for folder, count in counts.items() if count > MAX_FILES]


def _own_imports(source: str, modules: set[str]) -> set[str]:
    """The modules of ours that `source` imports when it runs."""
    tree = ast.parse(source)
    guards = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING")
    ]
    skipped = {id(node) for guard in guards for node in ast.walk(guard)}
    found = set()
    for node in ast.walk(tree):
        if id(node) in skipped:
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= names & modules or {str(node.module)}
    return found & modules


def _all_imports() -> dict[str, set[str]]:
    sources = {_module_name(path): path.read_text() for path in _source_files()}
    return {name: _own_imports(source, set(sources)) - {name} for name, source in sources.items()}


def _source_files() -> list[Path]:
    return [path for top in MAY_IMPORT for path in sorted((REPO_ROOT / top).rglob("*.py"))]


def _module_name(path: Path) -> str:
    return ".".join(path.relative_to(REPO_ROOT).with_suffix("").parts).removesuffix(".__init__")


def test_every_file_keeps_to_its_layer() -> None:
    files = _source_files()
    assert files
    found = [
        violation
        for path in files
        for violation in violations(path.relative_to(REPO_ROOT).as_posix(), path.read_text())
    ]
    assert not found, "\n".join(found)


def test_packages_import_only_what_stands_below_them() -> None:
    imports = {name: found for name, found in _all_imports().items() if name not in MAY_IMPORT}
    assert len(imports) > len(ORDER)
    found = list(misplaced(imports))
    assert not found, "\n".join(found)


def test_files_import_each_other_in_no_circle() -> None:
    assert not circle(_all_imports())


def test_no_package_has_more_files_than_a_reader_can_survey() -> None:
    assert not crowded(_source_files())


def test_a_planted_import_against_the_order_is_found() -> None:
    assert list(misplaced({"workers.plans.plan": {"workers.jobs"}}))
    assert list(misplaced({"workers.job": {"workers.plans.plan"}}))
    assert list(misplaced({"aigc_models.text.networks.gpt": {"aigc_models.text.model"}}))
    assert list(misplaced({"workers.nowhere": set()}))
    assert not list(misplaced({"workers.jobs.copywriting": {"workers.job", "infra.errors"}}))


def test_a_planted_circle_is_found() -> None:
    assert circle(
        {"workers.a": {"workers.b"}, "workers.b": {"workers.c"}, "workers.c": {"workers.a"}}
    )
    assert not circle({"workers.a": {"workers.b"}, "workers.b": {"workers.c"}})


def test_a_type_only_import_is_no_arrow() -> None:
    source = (
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from workers.job import Job\n"
    )
    assert not _own_imports(source, {"workers.job"})
    assert _own_imports("from workers import job", {"workers.job"}) == {"workers.job"}


def test_a_planted_crowd_is_found() -> None:
    files = [Path(f"workers/inputs/file_{number}.py") for number in range(MAX_FILES + 1)]
    assert crowded(files)
    assert not crowded(files[1:])


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("infra/storage/s3.py", "import workers.shards"),
        ("infra/parquet.py", "from flows import cli"),
        ("infra/parquet.py", "import ray"),
        ("workers/actor.py", "from flows.nightly import nightly"),
        ("workers/actor.py", "import prefect"),
        ("workers/actor.py", "def f():\n    from prefect import get_run_logger"),
        ("infra/local/stack.py", "from prefect.client import get_client"),
        ("flows/nightly.py", "import ray.util"),
        ("aigc_models/gpt.py", "import ray"),
        ("aigc_models/gpt.py", "import prefect"),
        ("aigc_models/gpt.py", "import boto3"),
        ("aigc_models/gpt.py", "import pyarrow.parquet as pq"),
        ("aigc_models/gpt.py", "from infra.errors import InputError"),
        ("aigc_models/gpt.py", "import importlib\nimportlib.import_module('pyarrow')"),
        ("workers/actor.py", "import os\nos.environ['A'] = 'b'"),
        ("flows/cli.py", "import os\nprint(os.getenv('A'))"),
        ("flows/cli.py", "from os import environ"),
        ("flows/cli.py", "from dotenv import load_dotenv"),
    ],
)
def test_a_planted_violation_is_found(path: str, source: str) -> None:
    assert list(violations(path, source))


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("infra/settings.py", "import os\nos.environ.get('A')"),
        ("infra/local/ray_probe.py", "import ray"),
        (
            "workers/actor.py",
            "import ray\nfrom aigc_models.gpt import GPT\nfrom infra.storage import open_storage",
        ),
        ("flows/nightly.py", "import prefect\nfrom workers import jobs"),
        (
            "aigc_models/gpt.py",
            "import math\nimport torch\nfrom aigc_models.attention import attend",
        ),
    ],
)
def test_what_a_layer_may_do_is_not_reported(path: str, source: str) -> None:
    assert not list(violations(path, source))
