from pathlib import Path

import pytest
from typer.testing import CliRunner

from flows.cli.app import app


@pytest.mark.parametrize(
    "words", [("reports",), ("export", "product_descriptions")], ids=lambda words: words[0]
)
def test_a_file_is_refused_as_a_download_folder(tmp_path: Path, words: tuple[str, ...]) -> None:
    (tmp_path / "file").touch()
    result = CliRunner().invoke(app, [*words, "--to", str(tmp_path / "file")])
    assert result.exit_code == 2
    assert "is a file" in " ".join(result.output.replace("│", " ").split())
