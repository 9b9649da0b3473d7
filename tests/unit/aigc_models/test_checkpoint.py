from pathlib import Path

import pytest
import torch

from aigc_models.checkpoint import (
    CheckpointError,
    read_checkpoint,
    read_tensors,
    write_json,
    write_tensors,
)


def write_folder(folder: Path) -> None:
    write_tensors(folder / "weights.safetensors", {"w": torch.ones(2)})
    write_json(folder / "config.json", {"ключ": 1})
    write_json(folder / "tokenizer.json", {})


def test_a_folder_is_read_as_it_was_written(tmp_path: Path) -> None:
    write_folder(tmp_path)
    checkpoint = read_checkpoint(tmp_path)
    assert checkpoint.config == {"ключ": 1}
    assert checkpoint.tensors["w"].equal(torch.ones(2))
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "config.json",
        "tokenizer.json",
        "weights.safetensors",
    ]


@pytest.mark.parametrize("name", ["weights.safetensors", "config.json", "tokenizer.json"])
def test_a_missing_file_is_named(tmp_path: Path, name: str) -> None:
    write_folder(tmp_path)
    (tmp_path / name).unlink()
    with pytest.raises(CheckpointError, match=name):
        read_checkpoint(tmp_path)


@pytest.mark.parametrize("name", ["weights.safetensors", "config.json"])
def test_a_truncated_file_is_an_error_of_the_checkpoint(tmp_path: Path, name: str) -> None:
    write_folder(tmp_path)
    (tmp_path / name).write_bytes((tmp_path / name).read_bytes()[:7])
    with pytest.raises(CheckpointError, match="damaged"):
        read_checkpoint(tmp_path)


def test_tensors_keep_their_metadata(tmp_path: Path) -> None:
    write_tensors(tmp_path / "x.safetensors", {"w": torch.arange(3)}, {"step": "7"})
    tensors, metadata = read_tensors(tmp_path / "x.safetensors")
    assert tensors["w"].tolist() == [0, 1, 2]
    assert metadata == {"step": "7"}
