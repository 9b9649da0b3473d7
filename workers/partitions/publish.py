"""Publishing a partition: copy its parts, swap the manifest, remove what the swap superseded.

The swap is one compare-and-swap of the manifest against what was published when the run began: of
several publishers one wins, and the others learn whether it published the same rows. A publisher
that dies before the swap has published nothing. One that dies after it leaves superseded parts
behind, which the next run of the date removes.
"""

from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

from infra.errors import (
    GenerationError,
    NightshiftError,
    ObjectNotFound,
    PreconditionFailed,
    StorageError,
)
from infra.storage import Storage
from workers.partitions.leftovers import clean_up_run
from workers.partitions.manifest import (
    Manifest,
    Published,
    absent_parts,
    manifest_key,
    output_key,
    read_published,
)
from workers.partitions.parts import Receipt, part_key
from workers.plans.plan import Plan

COPIES_AT_ONCE = 16


def publish(
    storage: Storage,
    plan: Plan,
    receipts: list[Receipt],
    manifest: Manifest,
    before: Published | None,
) -> bool:
    """Publishes the parts in place of `before`, which was published when the run began.

    Returns False if another run has published the same fingerprint since then. Raises
    PreconditionFailed if another run has published a different one: its plan is newer than ours.
    """
    current = read_published(storage, plan.job, plan.date)
    if _etag(current) != _etag(before):
        return _resolve_race(storage, plan, manifest, current, None)
    try:
        _copy_parts(storage, plan, receipts, manifest)
        _swap_manifest(storage, manifest, before)
    # the winner of a race also removes the copies of the loser
    except (GenerationError, ObjectNotFound, PreconditionFailed) as exc:
        current = read_published(storage, plan.job, plan.date)
        if _etag(current) != _etag(before):
            return _resolve_race(storage, plan, manifest, current, exc)
        if isinstance(exc, GenerationError):
            raise
        raise GenerationError(
            f"parts of {plan.job} {plan.date} were removed while they were published "
            "(by --force?); run it again"
        ) from exc
    _try_to_clean_up(storage, plan)
    return True


def _copy_parts(storage: Storage, plan: Plan, receipts: list[Receipt], manifest: Manifest) -> None:
    def copy(receipt: Receipt) -> None:
        target = output_key(plan, receipt.shard, manifest.generation)
        storage.copy(part_key(plan, receipt.shard), target)

    with ThreadPoolExecutor(COPIES_AT_ONCE) as threads:
        list(threads.map(copy, receipts))  # the list raises what a copy raised
    absent = absent_parts(storage, manifest)
    if absent:
        raise GenerationError(
            f"{len(absent)} parts are not what their receipts say, {absent[0]} for one: another "
            "run wrote other bytes; run it again with --force"
        )


def _swap_manifest(storage: Storage, manifest: Manifest, before: Published | None) -> None:
    condition: dict[str, Any] = {"if_match": before.etag} if before else {"if_absent": True}
    storage.put(
        manifest_key(manifest.job, manifest.date),
        manifest.to_json().encode(),
        content_type="application/json",
        **condition,
    )


def _resolve_race(
    storage: Storage,
    plan: Plan,
    manifest: Manifest,
    current: Published | None,
    cause: NightshiftError | None,
) -> bool:
    """What `publish` returns or raises once `current` has replaced what it meant to replace:
    another run was first, or our own swap arrived and its answer was lost."""
    if current is not None and current.manifest.fingerprint == plan.fingerprint:
        _try_to_clean_up(storage, plan)
        return current.manifest.run == manifest.run
    published_keys = current.manifest.part_keys if current else set()
    storage.delete(manifest.part_keys - published_keys)
    raise PreconditionFailed(
        f"{plan.job} {plan.date} was published by another run with other inputs or settings; "
        "nothing was replaced"
    ) from cause


def _try_to_clean_up(storage: Storage, plan: Plan) -> None:
    # the rows are published, whether or not this succeeds
    with suppress(StorageError):
        clean_up_run(storage, plan)


def _etag(published: Published | None) -> str | None:
    return published.etag if published else None
