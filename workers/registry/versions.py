"""Model versions in storage: `models/NAME/VERSION/`, immutable, and the champion among them.

A version is named by its date, family and weights' hash. Its folder counts once `metrics.json` is
there, which is written last. `champion.json` is moved by compare-and-swap only.
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
from workers.job import Job
from workers.pins import ModelPin

RECORD = "metrics.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelVersion:
    """What `metrics.json` holds of a version."""

    name: str
    version: str
    family: str
    through: str
    """The date through which the training data goes."""
    weights_sha256: str
    training: str
    """Fingerprint of the training: data, settings, family and code version."""
    trained_on: dict[str, Any]
    """The snapshots of the tables it was trained on."""
    metrics: dict[str, float] = field(default_factory=dict)
    rivals: dict[str, dict[str, float]] = field(default_factory=dict)
    """Metrics, on what this version held out, of the champion it met: another version's own are of
    other examples. None at all of a champion that could not be measured by it."""
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


def version_prefix(name: str, version: str) -> str:
    return f"models/{name}/{version}/"


def list_versions(storage: Storage, name: str) -> list[ModelVersion]:
    """All finished versions, oldest training data first."""
    records = [
        item.key for item in storage.list(f"models/{name}/") if item.key.endswith(f"/{RECORD}")
    ]
    versions = [ModelVersion(**json.loads(storage.get(key))) for key in records]
    return sorted(versions, key=lambda version: (version.through, version.created_at))


def find_version(storage: Storage, name: str, version: str) -> ModelVersion:
    """Raises InputError that lists the versions there are."""
    return read_versions(storage, name).find(version)


def read_champion(storage: Storage, name: str) -> tuple[Champion, str] | None:
    """The champion and the etag to replace it with, or None before the first."""
    key = f"models/{name}/champion.json"
    if storage.head(key) is None:
        return None
    data, etag = storage.get_with_etag(key)
    return Champion(**json.loads(data)), etag


@dataclass(frozen=True, slots=True)
class Versions:
    """The versions of a model and its champion as they are now; choices for any number of dates
    read no more."""

    name: str
    all: tuple[ModelVersion, ...]
    """Oldest training data first."""
    champion: str
    """Empty before the first."""

    def choose(self, policy: str, day: str) -> ModelVersion | None:
        """The version that `policy` (champion, as-of, or a version's name) means for `day`; None
        where there is none.

        Raises InputError for a name that no version has.
        """
        if policy == "as-of":
            return next((version for version in reversed(self.all) if version.through <= day), None)
        wanted = self.champion if policy == "champion" else policy
        return self.find(wanted) if wanted else None

    def find(self, version: str) -> ModelVersion:
        """Raises InputError that lists the versions there are."""
        known = {item.version: item for item in self.all}
        if version not in known:
            names = ", ".join(known) or "none yet: run `nightshift train`"
            raise InputError(f"model {self.name} has no version {version!r}; there are {names}")
        return known[version]


def read_versions(storage: Storage, name: str) -> Versions:
    found = read_champion(storage, name)
    return Versions(name, tuple(list_versions(storage, name)), found[0].version if found else "")


def policies(versions: Sequence[Versions], policy: str) -> list[str]:
    """`policy` for each of several models: the name of a version of one leaves the others to their
    champions.

    Raises InputError for a name that no version of any has.
    """
    if policy in {"champion", "as-of"}:
        return [policy] * len(versions)
    found = [
        "champion" if policy not in [one.version for one in model.all] else policy
        for model in versions
    ]
    if policy not in found:
        versions[-1].find(policy)
    return found


def choose_version(storage: Storage, name: str, policy: str, day: str) -> ModelVersion | None:
    """What `Versions.choose` says of the versions there are now."""
    return read_versions(storage, name).choose(policy, day)


def publish_version(storage: Storage, folder: Path, version: ModelVersion) -> None:
    """Uploads a checkpoint folder; the record goes last and makes it count."""
    record = json.dumps(asdict(version), indent=1).encode()
    (folder / RECORD).unlink(missing_ok=True)
    storage.upload(folder, version.prefix)
    storage.put(f"{version.prefix}{RECORD}", record, content_type="application/json")


def promote(storage: Storage, name: str, version: str, reason: str) -> Champion:
    """Makes `version` the champion; raises PreconditionFailed when somebody else moved it in the
    same moment."""
    return replace_champion(storage, name, version, reason, read_champion(storage, name))


def replace_champion(
    storage: Storage, name: str, version: str, reason: str, found: tuple[Champion, str] | None
) -> Champion:
    """Makes `version` the champion in place of `found`, as `read_champion` gave it; raises
    PreconditionFailed when somebody else has moved it since."""
    find_version(storage, name, version)
    if found and found[0].version == version:
        return found[0]
    champion = Champion(
        version=version,
        previous=found[0].version if found else None,
        since=datetime.now(UTC).isoformat(timespec="seconds"),
        reason=reason,
    )
    document = json.dumps(asdict(champion), indent=1).encode()
    key = f"models/{name}/champion.json"
    try:
        storage.put(key, document, **({"if_match": found[1]} if found else {"if_absent": True}))
    except PreconditionFailed as exc:
        now = read_champion(storage, name)
        if now is not None and now[0] == champion:
            return champion  # our own write arrived, its answer was lost
        raise PreconditionFailed(
            f"the champion of {name} was moved by somebody else just now; look and try again"
        ) from exc
    return champion


def roll_back(storage: Storage, name: str) -> Champion:
    """Makes the champion's predecessor the champion again."""
    found = read_champion(storage, name)
    if found is None or found[0].previous is None:
        raise InputError(f"model {name} has no earlier champion to go back to")
    return replace_champion(
        storage, name, found[0].previous, f"rolled back from {found[0].version}", found
    )


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
    return date.fromisoformat(versions.all[-1].through) < day - timedelta(
        days=job.retrain_after_days
    )
