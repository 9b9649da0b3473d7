"""Which models there are, and the rows that each one learns from."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import Any

from aigc_models.text import TextExample, TextRequest
from aigc_models.training import TrainingSettings, default_settings
from infra.errors import InputError
from infra.storage import Storage
from workers.overrides import override
from workers.plan import Snapshot
from workers.reading import iter_rows
from workers.text_rows import text_requests, with_name_and_type

MAX_EXAMPLES = 50_000
"""References read for one training; a sample is plenty for models of this size, and memory stays bounded."""
YES_OR_NO = frozenset({"true", "false", "yes", "no"})
MIN_WORD_CHARS = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelDeclaration:
    """A model that jobs share; its versions compete for champion whatever their family."""

    name: str
    version: int
    """To be raised by whoever changes training: earlier trainings do not count as the same any more."""
    tables: tuple[str, ...]
    """Input tables with its examples; a table that is absent is left out, but not all of them."""
    families: tuple[str, ...]
    """The first one is the default."""

    def parse_settings(self, family: str, overrides: Mapping[str, Any]) -> TrainingSettings:
        """Training settings of `family`; raises InputError that names what is wrong."""
        family = family or self.families[0]
        if family not in self.families:
            raise InputError(f"model {self.name} has no family {family!r}; there are {', '.join(self.families)}")
        given = {key: value for key, value in overrides.items() if key != "family"}
        return override(default_settings(family), given, f"training {self.name}")


MODELS: dict[str, ModelDeclaration] = {
    "copywriter": ModelDeclaration(
        name="copywriter",
        version=1,
        tables=("copy_examples", "catalog"),
        families=("gpt", "lstm", "gru", "rnn"),
    ),
}


def read_examples(storage: Storage, snapshots: list[Snapshot]) -> list[TextExample]:
    """The training texts: `copy_examples`, and catalogue rows that have a description, before the cut.

    What a description was written from is only guessed: beside copy examples, descriptions are at most as many.
    Raises InputError when there are none at all.
    """
    examples: list[TextExample] = []
    for snapshot in snapshots:
        is_catalog = snapshot.table == "catalog"
        most = 2 * len(examples) if is_catalog and examples else MAX_EXAMPLES
        found = (_catalog_examples if is_catalog else _copy_examples)(storage, snapshot)
        examples += islice(found, max(0, min(most, MAX_EXAMPLES) - len(examples)))
    if not examples:
        raise InputError(
            "there is nothing to train on: load texts with `nightshift inputs put copy_examples FILE…`, "
            "or catalogue rows that have a description"
        )
    return examples


def _copy_examples(storage: Storage, snapshot: Snapshot) -> Iterator[TextExample]:
    for item in snapshot.objects:
        for row in iter_rows(
            storage, snapshot.table, item.key, ["intent", "attributes", "reference"], having="reference"
        ):
            (request,) = text_requests([row["intent"]], [row["attributes"]])
            yield TextExample(request, row["reference"])


def _catalog_examples(storage: Storage, snapshot: Snapshot) -> Iterator[TextExample]:
    cut = datetime.fromisoformat(snapshot.cut)
    for item in snapshot.objects:
        columns = ["title", "category", "attributes", "description", "updated_at"]
        for row in iter_rows(storage, snapshot.table, item.key, columns, having="description"):
            if row["description"] and (row["updated_at"] is None or row["updated_at"] < cut):
                yield TextExample(_catalog_request(row), row["description"])


def _catalog_request(row: Mapping[str, Any]) -> TextRequest:
    """What a description seems to be written from: of all the attributes, those that it speaks of."""
    text = row["description"].casefold()
    attributes = with_name_and_type(row["title"], row["category"], row["attributes"])
    return text_requests(["inform"], [[pair for pair in attributes if _is_stated(text, **pair)]])[0]


def _is_stated(text: str, key: str, value: str | None) -> bool:
    """A value that the text repeats; of yes or no, a word of whose key it has."""
    if not value:
        return False
    folded = value.casefold()
    if folded in YES_OR_NO:
        return any(word in text for word in key.casefold().replace("_", " ").split() if len(word) >= MIN_WORD_CHARS)
    return folded in text
