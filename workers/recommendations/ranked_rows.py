"""The schema of prepared recommendations; planning needs it without importing the ranking."""

import pyarrow as pa

from workers.inputs.tables import ATTRIBUTES

RANKED = pa.schema(
    [
        pa.field("recommendation_id", pa.string(), nullable=False),
        pa.field("user_id", pa.string(), nullable=False),
        pa.field("rank", pa.int32(), nullable=False),
        pa.field("item_id", pa.string(), nullable=False),
        pa.field("score", pa.float64(), nullable=False),
        pa.field("because_item_id", pa.string()),
        pa.field("title", pa.string()),
        pa.field("category", pa.string()),
        pa.field("attributes", ATTRIBUTES),
        pa.field("shared", pa.list_(pa.string()), nullable=False),
        pa.field("night", pa.int32(), nullable=False),
    ]
)
"""One row for each user and rank. `shared`: keys of the facts that the item shares with
`because_item_id`; `night`: the date as a day number."""
