"""Part files: the Parquet object that a shard becomes, written once, and the receipt that proves
it.

Rows that did not make it into the part (rejected by a check, or raised) lie beside it in a
quarantine file of a fixed schema, written first: whoever sees the part can rely on the quarantine
file being there.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace

import pyarrow as pa

from infra.errors import GenerationError, ObjectNotFound, PreconditionFailed
from infra.storage import ObjectInfo, Storage
from infra.storage.parquet import encode, read_metadata
from workers.plans.plan import Plan

QUARANTINE = pa.schema(
    [
        pa.field("row_id", pa.string(), nullable=False),
        # "generate": it raised; "check": no faithful candidate
        pa.field("stage", pa.string(), nullable=False),
        pa.field("error", pa.string(), nullable=False),
        pa.field("traceback", pa.string(), nullable=False),
        pa.field("attempts", pa.int32(), nullable=False),
        pa.field("output", pa.string()),  # what was generated all the same, as JSON
    ]
)
RECEIPT_KEY = "nightshift-receipt"
HEADS_AT_ONCE = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """What became of a shard. `input_rows = accepted + rejected + quarantined`; later rows than the
    cut are apart."""

    shard: int
    fingerprint: str
    input_rows: int
    accepted: int
    rejected: int
    quarantined: int
    future: int
    size_bytes: int = 0
    sha256: str = ""
    seconds: float = 0.0
    wasted_seconds: float = 0.0
    """What actors that were lost on the way had spent on it."""
    node: str = ""

    def __post_init__(self) -> None:
        if self.accepted + self.rejected + self.quarantined != self.input_rows:
            raise GenerationError(f"shard {self.shard}: rows were lost or made up: {self}")

    def counts(self) -> str:
        """The part of the receipt that any worker would write: it goes into the file, so that bytes
        stay equal."""
        fields = asdict(self)
        return json.dumps({name: fields[name] for name in COUNTED}, separators=(",", ":"))


COUNTED = ("shard", "fingerprint", "input_rows", "accepted", "rejected", "quarantined", "future")


def part_key(plan: Plan, shard: int) -> str:
    return f"{plan.prefix}part-{shard:06d}.parquet"


def quarantine_key(plan: Plan, shard: int) -> str:
    return f"{plan.prefix}quarantine-{shard:06d}.parquet"


def removed_meanwhile(plan: Plan) -> GenerationError:
    """What to raise where something that this run has written, or found written, is gone."""
    return GenerationError(
        f"what was made of {plan.job} {plan.date} was removed while the run was at work on it (by another one with "
        "--force?); run it again"
    )


@contextmanager
def told_if_removed(plan: Plan) -> Iterator[None]:
    """Raises `removed_meanwhile` where something below the plan's prefix is not found any more."""
    try:
        yield
    except ObjectNotFound as exc:
        if plan.prefix not in str(exc):
            raise
        raise removed_meanwhile(plan) from exc


def write_part(
    storage: Storage, plan: Plan, receipt: Receipt, rows: pa.Table, quarantined: pa.Table
) -> Receipt:
    """Writes the shard's files and returns the receipt of the part that counts: ours, or the equal
    one found there.

    Raises GenerationError when another worker wrote different bytes for the same shard.
    """
    if quarantined.num_rows:
        storage.put(quarantine_key(plan, receipt.shard), encode(quarantined, QUARANTINE, {}))
    data = encode(rows, rows.schema, {RECEIPT_KEY: receipt.counts()})
    receipt = replace(receipt, size_bytes=len(data), sha256=hashlib.sha256(data).hexdigest())
    key = part_key(plan, receipt.shard)
    try:
        storage.put(key, data, if_absent=True, metadata={RECEIPT_KEY: json.dumps(asdict(receipt))})
    except PreconditionFailed as exc:
        try:
            found = read_receipt(storage, key)
        except ObjectNotFound:  # the run that wrote it first has published it since and removed it
            return receipt
        if found.sha256 != receipt.sha256:
            raise GenerationError(
                f"{storage.uri}/{key} was already written with other bytes ({found.sha256[:12]} by node {found.node}, "
                f"{receipt.sha256[:12]} here): the nodes differ in hardware or library versions; rerun with --force"
            ) from exc
        return found
    return receipt


def read_receipt(storage: Storage, key: str) -> Receipt:
    """The receipt in the object's metadata; rebuilt from the file where a store or a copy did not
    keep those."""
    info = storage.head(key)
    if info is not None and RECEIPT_KEY in info.metadata:
        return Receipt(**json.loads(info.metadata[RECEIPT_KEY]))
    counts = json.loads(read_metadata(storage, key)[RECEIPT_KEY])
    data = storage.get(key)
    return Receipt(**counts, size_bytes=len(data), sha256=hashlib.sha256(data).hexdigest())


def list_parts(storage: Storage, prefix: str) -> dict[int, ObjectInfo]:
    """The finished shards below `prefix`, by index, from one LIST."""
    parts = (item for item in storage.list(f"{prefix}part-") if item.key.endswith(".parquet"))
    return {int(item.key.rsplit("part-", 1)[1].removesuffix(".parquet")): item for item in parts}


def read_receipts(storage: Storage, keys: Iterable[str]) -> list[Receipt]:
    with ThreadPoolExecutor(HEADS_AT_ONCE) as threads:
        return list(threads.map(lambda key: read_receipt(storage, key), keys))
