"""Model versions in storage, `models/NAME/VERSION/`, and which of them is the champion.

Versions are immutable and named by date, family and the hash of their weights. A version exists
once its folder has `metrics.json`, which is written last. `champion.json` changes by
compare-and-swap only.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

from infra.errors import InputError, PreconditionFailed
from infra.storage import Storage
from infra.storage.documents import read_document
from workers.job import Job
from workers.pins import ModelPin

RECORD = "metrics.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelVersion:
    """The content of a version's `metrics.json`."""

    name: str
    version: str
    family: str
    through: str
    """The last date of the training data."""
    weights_sha256: str
    training: str
    """Fingerprint of the training: data, settings, family and code version."""
    trained_on: dict[str, Any]
    """Snapshots of the tables it was trained on."""
    metrics: dict[str, float] = field(default_factory=dict)
    rivals: dict[str, dict[str, float]] = field(default_factory=dict)
    """Metrics of the champion on this version's held-out examples, by the champion's version: its
    own metrics are of other examples. Empty for a champion that could not be loaded."""
    created_at: str = ""

    @property
    def pin(self) -> ModelPin:
        return ModelPin(self.name, self.version, self.weights_sha256, self.through)

    @property
    def prefix(self) -> str:
        return version_prefix(self.name, self.version)


@dataclass(frozen=True, slots=True, kw_only=True)
class Champion:
    version: str
    previous: str | None
    since: str
    reason: str


@dataclass(frozen=True, slots=True)
class StoredChampion:
    """The champion and the etag to replace it with."""

    champion: Champion
    etag: str

    @property
    def version(self) -> str:
        return self.champion.version


def version_prefix(name: str, version: str) -> str:
    return f"models/{name}/{version}/"


def list_versions(storage: Storage, name: str) -> list[ModelVersion]:
    """All finished versions, oldest training data first."""
    keys = [item.key for item in storage.list(f"models/{name}/")]
    records = [key for key in keys if key.endswith(f"/{RECORD}")]
    versions = [read_document(ModelVersion, storage.get(key), key) for key in records]
    return sorted(versions, key=lambda version: (version.through, version.created_at))


def find_version(storage: Storage, name: str, version: str) -> ModelVersion:
    """Raises InputError, which lists the known versions, for an unknown one."""
    return read_versions(storage, name).find(version)


def champion_key(name: str) -> str:
    return f"models/{name}/champion.json"


def read_champion(storage: Storage, name: str) -> StoredChampion | None:
    """None before the first champion."""
    key = champion_key(name)
    if storage.head(key) is None:
        return None
    data, etag = storage.get_with_etag(key)
    return StoredChampion(read_document(Champion, data, key), etag)


@dataclass(frozen=True, slots=True)
class Versions:
    """The versions of a model and its champion, read once; `choose` reads nothing."""

    name: str
    all: tuple[ModelVersion, ...]
    """Oldest training data first."""
    champion: str
    """Empty before the first."""

    def choose(self, policy: str, day: str) -> ModelVersion | None:
        """The version that `policy` (champion, as-of, or a version's name) selects for `day`; None
        if there is none yet.

        Raises InputError for an unknown version.
        """
        if policy == "as-of":
            return next((version for version in reversed(self.all) if version.through <= day), None)
        wanted = self.champion if policy == "champion" else policy
        return self.find(wanted) if wanted else None

    def find(self, version: str) -> ModelVersion:
        """Raises InputError, which lists the known versions, for an unknown one."""
        known = {item.version: item for item in self.all}
        if version not in known:
            names = ", ".join(known) or "none yet: run `nightshift train`"
            raise InputError(f"model {self.name} has no version {version!r}; there are {names}")
        return known[version]


def read_versions(storage: Storage, name: str) -> Versions:
    stored = read_champion(storage, name)
    versions = list_versions(storage, name)
    return Versions(name, tuple(versions), stored.version if stored else "")


def policies(models: Sequence[Versions], policy: str) -> list[str]:
    """The policy of each of several models. The name of one model's version selects that version;
    the other models use their champions.

    Raises InputError for a version that no model has.
    """
    if policy in {"champion", "as-of"}:
        return [policy] * len(models)
    found = []
    for model in models:
        is_known = any(version.version == policy for version in model.all)
        found.append(policy if is_known else "champion")
    if policy not in found:
        models[-1].find(policy)  # raises
    return found


def choose_version(storage: Storage, name: str, policy: str, day: str) -> ModelVersion | None:
    """As `Versions.choose`, of the versions in the store now."""
    return read_versions(storage, name).choose(policy, day)


def publish_version(storage: Storage, folder: Path, version: ModelVersion) -> None:
    """Uploads a checkpoint folder; `metrics.json` goes last and completes the version."""
    record = json.dumps(asdict(version), indent=1).encode()
    (folder / RECORD).unlink(missing_ok=True)
    storage.upload(folder, version.prefix)
    storage.put(f"{version.prefix}{RECORD}", record, content_type="application/json")


def promote(storage: Storage, name: str, version: str, reason: str) -> Champion:
    """Makes `version` the champion; raises PreconditionFailed if another writer changed the
    champion at the same moment."""
    return replace_champion(storage, name, version, reason, read_champion(storage, name))


def replace_champion(
    storage: Storage, name: str, version: str, reason: str, before: StoredChampion | None
) -> Champion:
    """Makes `version` the champion in place of `before`, which `read_champion` returned.

    Raises InputError for an unknown version, and PreconditionFailed if another writer has changed
    the champion since.
    """
    find_version(storage, name, version)
    if before and before.version == version:
        return before.champion
    champion = Champion(
        version=version,
        previous=before.version if before else None,
        since=datetime.now(UTC).isoformat(timespec="seconds"),
        reason=reason,
    )
    document = json.dumps(asdict(champion), indent=1).encode()
    condition: dict[str, Any] = {"if_match": before.etag} if before else {"if_absent": True}
    try:
        storage.put(champion_key(name), document, **condition)
    except PreconditionFailed as exc:
        current = read_champion(storage, name)
        if current is not None and current.champion == champion:
            return champion  # our own write arrived, its answer was lost
        raise PreconditionFailed(
            f"another run or user has just changed the champion of {name}; check it and try again"
        ) from exc
    return champion


def roll_back(storage: Storage, name: str) -> Champion:
    """Makes the previous champion the champion again; raises InputError if there is none."""
    before = read_champion(storage, name)
    if before is None or before.champion.previous is None:
        raise InputError(f"model {name} has no earlier champion to go back to")
    reason = f"rolled back from {before.version}"
    return replace_champion(storage, name, before.champion.previous, reason, before)


def name_version(folder: Path, family: str, day: str) -> tuple[str, str]:
    """(version, SHA-256 of all weights) of a finished checkpoint folder."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*.safetensors")):
        digest.update(path.read_bytes())
    return f"{day}-{family}-{digest.hexdigest()[:8]}", digest.hexdigest()


def needs_training(versions: Versions, job: Job, policy: str, day: date) -> bool:
    """Whether a run for `day` would train before it generates."""
    if policy != "champion" or not versions.champion:
        return versions.choose(policy, day.isoformat()) is None
    newest_data = date.fromisoformat(versions.all[-1].through)
    return newest_data < day - timedelta(days=job.retrain_after_days)
