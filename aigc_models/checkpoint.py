"""Checkpoint folders: weights.safetensors, config.json and, for text models, tokenizer.json.

Nothing is pickled. A file gets its final name only when it is complete.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

WEIGHTS = "weights.safetensors"
CONFIG = "config.json"
TOKENIZER = "tokenizer.json"
METRICS = "metrics.json"


class CheckpointError(Exception):
    """A checkpoint is incomplete or cannot be read."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    config: dict[str, Any]
    tensors: dict[str, Tensor]
    tokenizer_path: Path


def read_checkpoint(folder: Path) -> Checkpoint:
    """Reads the folder of a text model."""
    config, tensors = read_weights(folder, TOKENIZER)
    return Checkpoint(config, tensors, folder / TOKENIZER)


def read_weights(folder: Path, *others: str) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Reads configuration and tensors; `others` are files that the folder must also have.

    Raises `CheckpointError` if a file is missing or damaged.
    """
    for name in (WEIGHTS, CONFIG, *others):
        if not (folder / name).is_file():
            raise CheckpointError(f"{folder} is not a complete checkpoint: no {name}")
    try:
        config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        return config, load_file(folder / WEIGHTS)
    except (SafetensorError, json.JSONDecodeError, UnicodeDecodeError) as error:
        raise CheckpointError(f"{folder}: damaged checkpoint: {error}") from error


def write_tensors(
    path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None
) -> None:
    """Writes a safetensors file; it replaces an older one in one step."""
    part = path.with_name(path.name + ".part")
    save_file(
        {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()},
        part,
        metadata=dict(metadata) if metadata else None,
    )
    os.replace(part, path)


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Reads tensors and metadata of one safetensors file."""
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
        return load_file(path), metadata
    except SafetensorError as error:
        raise CheckpointError(f"{path}: damaged: {error}") from error


def write_json(path: Path, data: Any) -> None:
    """Writes a JSON file; it replaces an older one in one step."""
    part = path.with_name(path.name + ".part")
    text = json.dumps(data, ensure_ascii=False, indent=2, sort_keys=True)
    part.write_text(text + "\n", encoding="utf-8")
    os.replace(part, path)
