"""Some users of a partition of recommendations: what they have beside what is recommended to them,
and in which words.

Nobody is named: a page is passed on more easily than rows are.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from infra.errors import ObjectNotFound
from infra.storage import Storage
from infra.storage.parquet import read_metadata
from workers.partitions.manifest import Manifest
from workers.partitions.outputs import sample_rows
from workers.plans.prepared_rows import EXAMPLES_KEY


@dataclass(frozen=True, slots=True)
class Recommended:
    title: str
    because: str
    """Empty where nothing of the history speaks for it."""
    text: str


@dataclass(frozen=True, slots=True)
class Person:
    history: list[str]
    """The newest titles, the oldest of them first."""
    num_items: int
    """Of the whole history that was read."""
    recommended: list[Recommended]


def example_people(storage: Storage, manifest: Manifest) -> list[Person]:
    """Those that the preparation remembered; nobody where its file is gone or the job prepares no
    rows."""
    if not manifest.prepared or not manifest.prepared.objects:
        return []
    try:
        examples = json.loads(
            read_metadata(storage, manifest.prepared.objects[0].key)[EXAMPLES_KEY]
        )
    except ObjectNotFound:
        return []
    rows = sample_rows(storage, manifest, len(examples) * manifest.settings["num_items"])
    people = [_person(example, rows) for example in examples]
    return [person for person in people if person.recommended]


def _person(example: Mapping[str, Any], rows: list[dict[str, Any]]) -> Person:
    titles = example["titles"]
    recommended = [
        Recommended(titles[row["item_id"]], titles.get(row["because_item_id"], ""), row["text"])
        for row in rows
        if row["user_id"] == example["user_id"]
    ]
    return Person(example["history"], example["num_items"], recommended)
