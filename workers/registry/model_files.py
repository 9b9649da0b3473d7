"""A model version's files for actors: read from storage once; Ray then sends them to each node
once."""

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from infra.storage import Storage
from workers.models import MODELS
from workers.registry.versions import version_prefix

ModelFiles = dict[str, NDArray[np.uint8]]
"""Contents by path, as arrays: all processes of a node share those in Ray's object store."""


def fetch_model(storage: Storage, name: str, version: str) -> ModelFiles:
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        storage.download(version_prefix(name, version), folder)
        files = [path for path in folder.rglob("*") if path.is_file()]
        return {path.relative_to(folder).as_posix(): np.fromfile(path, np.uint8) for path in files}


def load_model(name: str, files: ModelFiles, device: str) -> Any:
    """The model to generate with. Raises CheckpointError for files that are not its checkpoint."""
    with tempfile.TemporaryDirectory() as scratch:
        for name_in_folder, content in files.items():
            path = Path(scratch, name_in_folder)
            path.parent.mkdir(parents=True, exist_ok=True)
            content.tofile(path)
        return MODELS[name].load(Path(scratch), device)
