"""Removes what runs leave behind: superseded parts, copies that were never published, abandoned
work."""

from collections import defaultdict
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

from infra.storage import ObjectInfo, Storage
from workers.partitions.manifest import Manifest, generation_in, manifest_key, read_published
from workers.partitions.parts import list_parts
from workers.plans.plan import Plan, partition_output_prefix, partition_work_prefix

COPY_AGE = timedelta(hours=1)
"""Copies of a later generation than the manifest's are kept this long: a publisher may be working
on them."""
WORK_AGE = timedelta(days=7)
"""Once the date is published, unpublished plans and parts newer than the manifest are kept this
long after their last change. Such parts belong to a run that generates the published rows again
(`--force`)."""


def remove_leftovers(storage: Storage, job: str, day: str, now: datetime | None = None) -> int:
    """Removes what the date's published partition does not need; returns the number of objects
    removed. Safe at any time."""
    published = read_published(storage, job, day)
    if published is None:
        return 0
    now = now or datetime.now(UTC)
    outputs = {item.key: item for item in storage.list(partition_output_prefix(job, day))}
    listed = outputs.get(manifest_key(job, day))
    if listed is None:
        return 0  # this store's listings lag behind: the next run of the date cleans up
    manifest = published.manifest
    doomed = _unpublished_copies(outputs.values(), manifest, now)
    doomed += _stale_work(storage, manifest, listed.modified, now)
    storage.delete(doomed)
    return len(doomed)


def clean_up_run(storage: Storage, plan: Plan) -> None:
    """Removes the parts of a run whose plan is published, and the date's other leftovers.

    `remove_leftovers` alone would keep these parts if another run published first: they are newer
    than its manifest.
    """
    storage.delete([item.key for item in list_parts(storage, plan.prefix).values()])
    remove_leftovers(storage, plan.job, plan.date)


def _unpublished_copies(
    outputs: Iterable[ObjectInfo], manifest: Manifest, now: datetime
) -> list[str]:
    """Copies that the manifest does not list, of its generation or an earlier one: superseded, or
    made by a publisher that lost the race.

    The generation decides, not the time: S3 reports whole seconds.
    """
    listed_keys = manifest.part_keys
    doomed = []
    for item in outputs:
        is_listed = item.key in listed_keys
        is_decided = generation_in(item.key) <= manifest.generation
        is_old = item.modified < now - COPY_AGE
        if "/part-" in item.key and not is_listed and (is_decided or is_old):
            doomed.append(item.key)
    return doomed


def _stale_work(
    storage: Storage, manifest: Manifest, published_at: datetime, now: datetime
) -> list[str]:
    """The published plan's parts from before it was published, and whole work folders of other
    plans that nothing has touched for long."""
    prefix = partition_work_prefix(manifest.job, manifest.date)
    oldest_kept = now - WORK_AGE
    doomed = []
    for item in list_parts(storage, f"{prefix}{manifest.fingerprint}/").values():
        if item.modified <= published_at or item.modified < oldest_kept:
            doomed.append(item.key)
    folders: dict[str, list[ObjectInfo]] = defaultdict(list)
    for item in storage.list(prefix):
        folders[item.key.removeprefix(prefix).partition("/")[0]].append(item)
    for name, items in folders.items():
        last_change = max(item.modified for item in items)
        if name != manifest.fingerprint and last_change < oldest_kept:
            doomed += [item.key for item in items]
    return doomed
