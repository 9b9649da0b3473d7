"""Part files: the Parquet object that a shard becomes, written once, and its receipt.

Rows that a check rejected or whose generation raised are kept beside the part in a quarantine file
of a fixed schema. It is written first: if the part exists, so does its quarantine file.
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
from infra.storage.documents import read_document
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
        pa.field("output", pa.string()),  # the rejected output, as JSON
    ]
)
RECEIPT_KEY = "nightshift-receipt"
HEADS_AT_ONCE = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """What became of a shard's rows. `input_rows = accepted + rejected + quarantined`; `future`
    rows, which are later than the cut, are not among them."""

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
    """Spent on this shard by actors that were lost."""
    node: str = ""

    def __post_init__(self) -> None:
        if self.accepted + self.rejected + self.quarantined != self.input_rows:
            raise GenerationError(f"shard {self.shard}: rows were lost or made up: {self}")

    def counts(self) -> str:
        """The fields that are equal whichever worker writes the part, as JSON. Only these go into
        the file, so that its bytes are equal, too."""
        fields = asdict(self)
        return json.dumps({name: fields[name] for name in COUNTED}, separators=(",", ":"))


COUNTED = ("shard", "fingerprint", "input_rows", "accepted", "rejected", "quarantined", "future")


def part_key(plan: Plan, shard: int) -> str:
    return f"{plan.prefix}part-{shard:06d}.parquet"


def quarantine_key(plan: Plan, shard: int) -> str:
    return f"{plan.prefix}quarantine-{shard:06d}.parquet"


def work_removed_error(plan: Plan) -> GenerationError:
    """For a file of the plan that this run wrote or found, and that no longer exists."""
    return GenerationError(
        f"work files of {plan.job} {plan.date} were removed during the run "
        "(by another run with --force?); run it again"
    )


@contextmanager
def detect_removed_work(plan: Plan) -> Iterator[None]:
    """Turns ObjectNotFound for a key below the plan's prefix into `work_removed_error`."""
    try:
        yield
    except ObjectNotFound as exc:
        if plan.prefix not in str(exc):
            raise
        raise work_removed_error(plan) from exc


def write_part(
    storage: Storage, plan: Plan, receipt: Receipt, rows: pa.Table, quarantined: pa.Table
) -> Receipt:
    """Writes the shard's files and returns the receipt of the part in the store: ours, or that of
    another worker that wrote equal bytes first.

    Raises GenerationError if another worker wrote different bytes for the same shard.
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
        except ObjectNotFound:
            return receipt  # the run that wrote it first has since published and removed it
        if found.sha256 != receipt.sha256:
            raise GenerationError(
                f"{storage.uri}/{key} was already written with other bytes "
                f"({found.sha256[:12]} by node {found.node}, {receipt.sha256[:12]} here): "
                "the nodes differ in hardware or library versions; rerun with --force"
            ) from exc
        return found
    return receipt


def read_receipt(storage: Storage, key: str) -> Receipt:
    """The receipt in the object's metadata, or rebuilt from the file if a store or a copy dropped
    the metadata."""
    info = storage.head(key)
    if info is not None and RECEIPT_KEY in info.metadata:
        return read_document(Receipt, info.metadata[RECEIPT_KEY], key)
    counts = json.loads(read_metadata(storage, key)[RECEIPT_KEY])
    data = storage.get(key)
    return Receipt(**counts, size_bytes=len(data), sha256=hashlib.sha256(data).hexdigest())


def list_parts(storage: Storage, prefix: str) -> dict[int, ObjectInfo]:
    """The finished shards below `prefix`, by index, from one LIST."""
    parts = {}
    for item in storage.list(f"{prefix}part-"):
        if item.key.endswith(".parquet"):
            index = item.key.rsplit("part-", 1)[1].removesuffix(".parquet")
            parts[int(index)] = item
    return parts


def read_receipts(storage: Storage, keys: Iterable[str]) -> list[Receipt]:
    with ThreadPoolExecutor(HEADS_AT_ONCE) as threads:
        return list(threads.map(lambda key: read_receipt(storage, key), keys))
