"""Published rows for people: a few samples, or a whole partition in a local folder."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from infra.errors import InputError, ObjectNotFound, StorageError
from infra.storage import Storage
from infra.storage.parquet import read_rows
from workers.partitions.manifest import MANIFEST, Manifest, read_published


def sample_rows(storage: Storage, manifest: Manifest, num_rows: int) -> list[dict[str, Any]]:
    """The first rows of the published partition."""
    rows: list[dict[str, Any]] = []
    for part in manifest.parts:
        if len(rows) >= num_rows:
            break
        if part.rows:
            rows += read_rows(storage, part.key).slice(0, num_rows - len(rows)).to_pylist()
    return rows


def export_partition(storage: Storage, job: str, day: str, folder: Path) -> Path:
    """Downloads the parts and the manifest to `folder/JOB/dt=…`; returns that folder.

    Raises InputError if nothing is published for the date or the folder is not empty.
    """
    target = folder / job / f"dt={day}"
    if target.exists() and any(target.iterdir()):
        raise InputError(f"{target} is not empty; choose another folder or remove it first")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        while not _is_exported(storage, job, day, target):
            continue  # a run has published since and removed the parts of the manifest we read
    except OSError as exc:
        raise StorageError(f"{target} cannot be written: {exc.strerror}") from exc
    return target


def _is_exported(storage: Storage, job: str, day: str, target: Path) -> bool:
    """Writes `target` completely or not at all; False if the manifest was superseded during the
    download."""
    published = read_published(storage, job, day)
    if published is None:
        raise InputError(
            f"{job} has nothing published for {day}; `nightshift show {job}` lists its partitions"
        )
    with TemporaryDirectory(prefix=f".{target.name}-", dir=target.parent) as scratch:
        draft = Path(scratch, target.name)
        draft.mkdir()
        try:
            for part in published.manifest.parts:
                (draft / part.key.rsplit("/", 1)[1]).write_bytes(storage.get(part.key))
        except ObjectNotFound:
            now = read_published(storage, job, day)
            if now is None or now.etag == published.etag:
                raise
            return False
        (draft / MANIFEST).write_text(published.manifest.to_json())
        draft.rename(target)
    return True
