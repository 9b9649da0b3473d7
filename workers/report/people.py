"""Example users of a partition of recommendations: their history, what is recommended to them, and
the texts.

User ids are left out: pages are passed on more easily than rows.
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
    """Title of the item in the history that led to it; empty if there is none."""
    text: str


@dataclass(frozen=True, slots=True)
class Person:
    history: list[str]
    """The newest titles, oldest first."""
    num_items: int
    """In the whole history."""
    recommended: list[Recommended]


def example_people(storage: Storage, manifest: Manifest) -> list[Person]:
    """The examples that the preparation chose; none if its file was removed or the job does not
    prepare rows."""
    if not manifest.prepared or not manifest.prepared.objects:
        return []
    try:
        metadata = read_metadata(storage, manifest.prepared.objects[0].key)
    except ObjectNotFound:
        return []
    examples = json.loads(metadata[EXAMPLES_KEY])
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
