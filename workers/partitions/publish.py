"""Publishing a partition: copy its parts, swap the manifest, remove what the swap superseded.

The manifest is moved by one compare-and-swap against what was published when the run began: of
several publishers one wins, and the others find out whether it published the same. A publisher that
dies before the swap has published nothing; one that dies after it leaves superseded parts behind,
that the next run of the date removes.
"""

from collections.abc import Callable
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
from workers.partitions.leftovers import clean_up_after
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
    """Publishes the parts over `before`, what was published when the run began.

    False when another run has published the same fingerprint since then. Raises PreconditionFailed
    when another run has published a different one: what that run knew is newer than our plan.
    """
    if _etag(read_published(storage, plan.job, plan.date)) != _etag(before):
        return _settle(storage, plan, manifest, before, None)
    try:
        _copy_parts(storage, plan, receipts, manifest)
        condition: dict[str, Any] = {"if_match": before.etag} if before else {"if_absent": True}
        document = manifest.to_json().encode()
        storage.put(
            manifest_key(plan.job, plan.date),
            document,
            content_type="application/json",
            **condition,
        )
    except (
        GenerationError,
        ObjectNotFound,
        PreconditionFailed,
    ) as exc:  # a winner removes a loser's copies, too
        return _settle(storage, plan, manifest, before, exc)
    _tidy_up(storage, plan)
    return True


def _copy_parts(storage: Storage, plan: Plan, receipts: list[Receipt], manifest: Manifest) -> None:
    _each(
        lambda receipt: storage.copy(
            part_key(plan, receipt.shard), output_key(plan, receipt.shard, manifest.generation)
        ),
        receipts,
    )
    absent = absent_parts(storage, manifest)
    if absent:
        raise GenerationError(
            f"{len(absent)} parts are not what their receipts say, {absent[0]} for one: another run wrote other bytes; "
            "run it again with --force"
        )


def _settle(
    storage: Storage,
    plan: Plan,
    manifest: Manifest,
    before: Published | None,
    exc: NightshiftError | None,
) -> bool:
    """Somebody else swapped first, or our own swap arrived and its answer was lost."""
    now = read_published(storage, plan.job, plan.date)
    if (
        now is not None
        and now.manifest.fingerprint == plan.fingerprint
        and now.etag != _etag(before)
    ):
        _tidy_up(storage, plan)
        return now.manifest.run == manifest.run
    if _etag(now) == _etag(before):
        if isinstance(exc, GenerationError):
            raise exc
        raise GenerationError(
            f"parts of {plan.job} {plan.date} were removed while they were published (by --force?); run it again"
        ) from exc
    storage.delete(manifest.part_keys - (now.manifest.part_keys if now else set()))
    raise PreconditionFailed(
        f"{plan.job} {plan.date} was published by another run with other inputs or settings; nothing was replaced"
    ) from exc


def _tidy_up(storage: Storage, plan: Plan) -> None:
    """The rows are published, whether or not this succeeds."""
    with suppress(StorageError):
        clean_up_after(storage, plan)


def _etag(published: Published | None) -> str | None:
    return published.etag if published else None


def _each(act: Callable[[Receipt], None], receipts: list[Receipt]) -> None:
    with ThreadPoolExecutor(COPIES_AT_ONCE) as threads:
        for _ in threads.map(act, receipts):
            pass
