"""Makes a change to several files of an input table visible all at once.

Readers ignore the files that `inputs/TABLE/_hidden.json` names. A put that changes several files

1. hides the files that it is going to upload, then uploads them: readers see the old table
2. hides, in one write, the files that they replace instead: readers see the new table
3. deletes the replaced files, then `_hidden.json`

If a put is killed, the next one deletes the files that are still hidden. Puts into the same table
must not run at the same time; the one that is overtaken raises PreconditionFailed.
"""

import json
import uuid
from collections.abc import Sequence

from infra.errors import ObjectNotFound, PreconditionFailed
from infra.storage import ObjectInfo, Storage

HIDDEN = "_hidden.json"


def table_prefix(table_name: str) -> str:
    """The key prefix of a table's files."""
    return f"inputs/{table_name}/"


def list_visible(storage: Storage, table_name: str) -> list[ObjectInfo]:
    """All objects of a table that are not hidden, markers included, sorted by key."""
    prefix = table_prefix(table_name)
    hidden = _read_hidden(storage, prefix)
    while True:
        infos = list(storage.list(prefix))
        hidden_after = _read_hidden(storage, prefix)
        if hidden_after == hidden:  # otherwise a put changed the table during the listing
            return [info for info in infos if info.key not in hidden]
        hidden = hidden_after


def hide(storage: Storage, table_name: str, keys: Sequence[str], etag: str | None = None) -> str:
    """Hides exactly `keys`, and returns the etag of the new `_hidden.json`.

    Replaces the object with `etag`, or creates it. Raises PreconditionFailed if another put has
    written it in the meantime.
    """
    key = f"{table_prefix(table_name)}{HIDDEN}"
    # the id makes the document of every put different
    document = json.dumps({"hidden": list(keys), "put": uuid.uuid4().hex}).encode()
    try:
        return storage.put(key, document, if_absent=etag is None, if_match=etag)
    except PreconditionFailed as exc:
        found, found_etag = storage.get_with_etag(key) if storage.head(key) else (b"", "")
        if found == document:  # our own write succeeded, but its response was lost
            return found_etag
        raise PreconditionFailed(
            f"another put into the table {table_name} ran at the same time and may have removed "
            "files of this one; put the files again"
        ) from exc


def delete_hidden(storage: Storage, table_name: str) -> set[str]:
    """Deletes the hidden files and `_hidden.json`; returns the keys that remain in the table."""
    prefix = table_prefix(table_name)
    present = {info.key for info in storage.list(prefix)}
    marker = f"{prefix}{HIDDEN}"
    if marker not in present:
        return present
    hidden = _read_hidden(storage, prefix)
    storage.delete(hidden)
    storage.delete([marker])  # last: a file that is not deleted yet must stay hidden
    return present - {*hidden, marker}


def _read_hidden(storage: Storage, prefix: str) -> list[str]:
    try:
        hidden: list[str] = json.loads(storage.get(f"{prefix}{HIDDEN}"))["hidden"]
    except ObjectNotFound:
        return []
    return hidden
