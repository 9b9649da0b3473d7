"""The model that writes texts, and how its training examples are read."""

from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aigc_models.text.language.acts import TextExample, TextRequest
from aigc_models.text.settings import QUICK, TrainingSettings, default_settings
from infra.errors import InputError
from infra.storage import Storage
from workers.inputs.reading import event_time_column, is_in_even_sample, iter_rows
from workers.model import ModelDeclaration
from workers.pins import Snapshot
from workers.text_rows import has_attributes, text_requests, with_name_and_type

if TYPE_CHECKING:
    from aigc_models.text.model import TextModel

MAX_EXAMPLES = 50_000
"""Examples of one training, sampled evenly from each table; bounds memory, and is plenty for models
of this size."""
YES_OR_NO = frozenset({"true", "false", "yes", "no"})
MIN_WORD_CHARS = 4


def score(metrics: Mapping[str, float]) -> float:
    """BLEU times the share of texts without an error."""
    return metrics["bleu"] * (1 - metrics["texts_with_error_share"])


def train(examples: list[TextExample], folder: Path, **arguments: Any) -> dict[str, float]:
    from aigc_models.text.training import train_text_model

    return train_text_model(examples, folder, **arguments)


def evaluate(
    model: "TextModel", examples: list[TextExample], settings: TrainingSettings
) -> dict[str, float]:
    from aigc_models.text.evaluation import evaluate_text_model

    return evaluate_text_model(model, examples, settings)


def load(folder: Path, device: str) -> "TextModel":
    from aigc_models.text.model import TextModel

    return TextModel.load(folder, device=device)


def read_examples(
    storage: Storage, snapshots: list[Snapshot], _: TrainingSettings
) -> list[TextExample]:
    """The rows of `copy_examples`, and catalogue rows with a description, from before the cut.

    The facts behind a description are guessed, so there are never more descriptions than copy
    examples, unless there are no copy examples. Raises InputError if there are no examples at all.
    """
    examples: list[TextExample] = []
    for snapshot in snapshots:
        is_catalog = snapshot.table == "catalog"
        most = 2 * len(examples) if is_catalog and examples else MAX_EXAMPLES
        num_wanted = min(most, MAX_EXAMPLES) - len(examples)
        if num_wanted > 0:
            read = _catalog_examples if is_catalog else _copy_examples
            examples += read(storage, snapshot, num_wanted)
    if not examples:
        raise InputError(
            "there is nothing to train on: load texts with "
            "`nightshift inputs put copy_examples FILE…`, or catalogue rows with a description"
        )
    return examples


def _copy_examples(storage: Storage, snapshot: Snapshot, wanted: int) -> Iterator[TextExample]:
    columns = ["intent", "attributes", "reference"]
    for row in _spread(storage, snapshot, columns, "reference", wanted):
        if row["intent"]:
            (request,) = text_requests([row["intent"]], [row["attributes"]])
            yield TextExample(request, row["reference"])


def _catalog_examples(storage: Storage, snapshot: Snapshot, wanted: int) -> Iterator[TextExample]:
    columns = ["title", "category", "attributes", "description"]
    for row in _spread(storage, snapshot, columns, "description", wanted):
        yield TextExample(_catalog_request(row), row["description"])


def _spread(
    storage: Storage, snapshot: Snapshot, columns: list[str], text: str, wanted: int
) -> Iterator[Mapping[str, Any]]:
    """Rows with a text from before the cut: all, or `wanted` of them at even distances."""
    count = snapshot.num_rows
    if count > wanted:  # count again, since many rows may have no text
        count = sum(1 for _ in _rows(storage, snapshot, [text], text))
    wanted = min(count, wanted)
    for number, row in enumerate(_rows(storage, snapshot, columns, text)):
        if is_in_even_sample(number, count, wanted) and has_attributes(row):
            yield row


def _rows(
    storage: Storage, snapshot: Snapshot, columns: list[str], text: str
) -> Iterator[Mapping[str, Any]]:
    cut, time = datetime.fromisoformat(snapshot.cut), event_time_column(snapshot.table)
    read = [*columns, time] if time else columns
    for item in snapshot.objects:
        for row in iter_rows(storage, snapshot.table, item.key, read, having=text):
            if row[text] and (time is None or row[time] is None or row[time] < cut):
                yield row


def _catalog_request(row: Mapping[str, Any]) -> TextRequest:
    """The request that a description seems to answer: the attributes that it states."""
    text = row["description"].casefold()
    attributes = with_name_and_type(row["title"], row["category"], row["attributes"])
    stated = [pair for pair in attributes if _is_stated(text, **pair)]
    (request,) = text_requests(["inform"], [stated])
    return request


def _is_stated(text: str, key: str, value: str | None) -> bool:
    """Whether the text repeats the value or, for yes and no, a longer word of the key."""
    if not value:
        return False
    folded = value.casefold()
    if folded in YES_OR_NO:
        words = key.casefold().replace("_", " ").split()
        return any(word in text for word in words if len(word) >= MIN_WORD_CHARS)
    return folded in text


MODEL = ModelDeclaration(
    name="copywriter",
    version=3,
    tables=("copy_examples", "catalog"),
    families=("gpt", "lstm", "gru", "rnn"),
    default_settings=default_settings,
    quick=QUICK,
    read_examples=read_examples,
    train=train,
    load=load,
    evaluate=evaluate,
    score=score,
    figures={
        "BLEU": "bleu",
        "slot errors": "slot_error_rate",
        "texts with errors": "texts_with_error_share",
        "distinct-2": "distinct_2",
    },
)
