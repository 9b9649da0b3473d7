"""Removes what runs leave behind: superseded parts, copies that nobody published, work that nobody
needs any more."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

from infra.storage import ObjectInfo, Storage
from workers.partitions.manifest import Manifest, generation_in, manifest_key, read_published
from workers.partitions.parts import list_parts
from workers.plans.plan import Plan, partition_output_prefix, partition_work_prefix

COPY_AGE = timedelta(hours=1)
"""Copies of a later generation than the manifest's may belong to a publisher at work until they are
this old."""
WORK_AGE = timedelta(days=7)
"""Plans that were not published, on a date that is, and parts that are newer than what is: kept so
long after their last sign of life. The latter are those of a run that makes the published rows anew
(`--force`)."""


def clean_up(storage: Storage, job: str, day: str, now: datetime | None = None) -> int:
    """Removes what the published partition of the date does not need; returns how many objects.
    Safe at any time."""
    published = read_published(storage, job, day)
    if published is None:
        return 0
    now = now or datetime.now(UTC)
    outputs = {item.key: item for item in storage.list(partition_output_prefix(job, day))}
    swapped = outputs.get(manifest_key(job, day))
    if swapped is None:
        return 0  # a store whose listings are late: the next run of the date cleans up
    manifest = published.manifest
    doomed = _doomed_copies(outputs.values(), manifest, now)
    doomed += _doomed_work(storage, job, day, manifest.fingerprint, swapped.modified, now)
    storage.delete(doomed)
    return len(doomed)


def clean_up_after(storage: Storage, plan: Plan) -> None:
    """What a run does at its end once its plan is published, by itself or by another run: its own
    parts go, too, which are newer than what is published where another one was first."""
    storage.delete([item.key for item in list_parts(storage, plan.prefix).values()])
    clean_up(storage, plan.job, plan.date)


def _doomed_copies(outputs: Iterable[ObjectInfo], manifest: Manifest, now: datetime) -> list[str]:
    """A copy of this or an earlier generation that the manifest does not name was superseded, or
    has lost.

    Its publisher's swap was or will be refused. Times would not tell: S3's are of whole seconds.
    """
    named = manifest.part_keys

    def is_doomed(item: ObjectInfo) -> bool:
        return generation_in(item.key) <= manifest.generation or item.modified < now - COPY_AGE

    copies = [item for item in outputs if "/part-" in item.key]
    return [item.key for item in copies if item.key not in named and is_doomed(item)]


def _doomed_work(
    storage: Storage, job: str, day: str, fingerprint: str, since: datetime, now: datetime
) -> list[str]:
    """The work folder's parts of what is published `since`, and whole folders of plans that were
    left long ago."""
    prefix = partition_work_prefix(job, day)
    parts = list_parts(storage, f"{prefix}{fingerprint}/").values()
    doomed = [
        item.key for item in parts if item.modified <= since or item.modified < now - WORK_AGE
    ]
    folders: dict[str, list[ObjectInfo]] = {}
    for item in storage.list(prefix):
        folders.setdefault(item.key.removeprefix(prefix).partition("/")[0], []).append(item)
    for name, items in folders.items():
        if name != fingerprint and max(item.modified for item in items) < now - WORK_AGE:
            doomed += [item.key for item in items]
    return doomed
