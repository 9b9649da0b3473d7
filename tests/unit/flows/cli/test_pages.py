"""`nightshift reports` on a folder as store; no browser is started."""

import webbrowser
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from flows.cli.app import app
from infra.errors import InputError
from infra.settings import load_settings
from infra.storage import Storage, open_storage
from workers.report import OVERVIEW, report_key

JOB = "product_descriptions"
DAYS = ("2026-11-21", "2026-11-22")


@pytest.fixture
def storage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Storage:
    monkeypatch.setenv("NIGHTSHIFT_STORAGE_URI", (tmp_path / "store").as_uri())
    load_settings.cache_clear()
    storage = open_storage(load_settings())
    for key in (OVERVIEW, *(report_key(JOB, day) for day in DAYS)):
        storage.put(key, key.encode())
    yield storage
    load_settings.cache_clear()


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The addresses that the browser was asked for."""
    addresses: list[str] = []
    monkeypatch.setattr(webbrowser, "open", lambda url: addresses.append(url) or True)
    return addresses


def reports(*words: str) -> Result:
    return CliRunner().invoke(app, ["reports", *words])


@pytest.mark.usefixtures("storage")
def test_all_pages_are_downloaded(tmp_path: Path, opened: list[str]) -> None:
    output = reports("--to", str(tmp_path / "pages")).output
    assert f"3 files are in {tmp_path / 'pages'}" in output
    assert (tmp_path / "pages" / JOB / f"dt={DAYS[0]}" / "index.html").exists()
    assert opened == []


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ((), OVERVIEW),
        ((JOB,), report_key(JOB, DAYS[1])),
        ((JOB, "--date", DAYS[0]), report_key(JOB, DAYS[0])),
    ],
    ids=["overview", "newest", "date"],
)
@pytest.mark.usefixtures("storage")
def test_a_page_is_opened(
    tmp_path: Path, opened: list[str], words: tuple[str, ...], expected: str
) -> None:
    result = reports(*words, "--open", "--to", str(tmp_path / "pages"))
    page = tmp_path / "pages" / "index.html"
    assert opened == [page.as_uri()]
    assert page.read_text() == expected
    assert str(page) in result.output


@pytest.mark.usefixtures("storage")
def test_without_a_browser_the_path_is_printed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webbrowser, "open", lambda url: False)
    path = Path(reports("--open").output.split()[-1])
    assert path.read_text() == OVERVIEW


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ((), "choose --to DIR"),
        (("--open", "--date", DAYS[0]), "--date needs a JOB"),
        (("copywriting", "--open"), "copywriting has no reports yet"),
        ((JOB, "--date", "2026-11-23", "--open"), "there is no page"),
    ],
)
@pytest.mark.usefixtures("storage")
def test_pages_that_are_not_there_are_refused(words: tuple[str, ...], expected: str) -> None:
    result = reports(*words)
    assert isinstance(result.exception, InputError)
    assert expected in str(result.exception)
