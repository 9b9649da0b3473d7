"""Texts on request, one for each row of `copy_requests`: ad copy, recommendations, replies."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import pyarrow as pa

from workers.job import Job
from workers.quality.texts import TEXT_GATES, TextMeter
from workers.text_rows import TEXT_OUTPUT, TextSettings, text_columns, text_requests

if TYPE_CHECKING:
    from aigc_models.text.model import TextModel


def generate(
    model: "TextModel", batch: pa.Table, row_seeds: Sequence[int], settings: TextSettings
) -> pa.Table:
    """Writes a text with the intent and exactly the attributes of each request."""
    requests = text_requests(batch["intent"].to_pylist(), batch["attributes"].to_pylist())
    texts = model.generate(requests, row_seeds, settings.sampling())
    return pa.table(
        {"request_id": batch["request_id"], "intent": batch["intent"], **text_columns(texts)}
    )


JOB = Job(
    name="copywriting",
    version=5,
    table="copy_requests",
    id_column="request_id",
    columns=("request_id", "intent", "attributes"),
    model="copywriter",
    settings=TextSettings,
    output=pa.schema(
        [
            pa.field("request_id", pa.string(), nullable=False),
            pa.field("intent", pa.string(), nullable=False),
            *TEXT_OUTPUT,
        ]
    ),
    generate=generate,
    meter=TextMeter,
    gates=TEXT_GATES,
)
