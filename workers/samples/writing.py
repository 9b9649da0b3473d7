"""Writes the sample shop's tables as Parquet files, holding a few thousand rows at a time."""

from collections.abc import Iterator
from datetime import date
from itertools import islice
from pathlib import Path

import pyarrow as pa

from infra.storage.parquet import write_file
from workers.inputs.tables import CATALOG, COPY_EXAMPLES, COPY_REQUESTS, IMAGES, INTERACTIONS
from workers.samples.catalog import CATALOG_SCHEMA, iter_catalog_tables, iter_products
from workers.samples.copy import (
    EXAMPLES_SCHEMA,
    REQUESTS_SCHEMA,
    iter_example_tables,
    iter_request_tables,
)
from workers.samples.interactions import INTERACTIONS_SCHEMA, LAST_DAY, iter_interaction_tables
from workers.samples.pictures import IMAGES_SCHEMA, iter_image_tables

MAX_KNOWN_PRODUCTS = 5000
"""Texts and purchases are only about this many products, the first of the catalogue."""


def write_samples(
    folder: Path,
    *,
    num_products: int,
    num_examples: int,
    num_requests: int,
    num_images: int,
    num_interactions: int,
    seed: int,
    last_day: date = LAST_DAY,
) -> dict[str, Path]:
    """Writes one Parquet file for each input table with rows; returns the paths by table name.

    Purchases are from the sixty days up to `last_day`.
    """
    if num_products < 1 and (num_examples or num_requests or num_interactions):
        raise ValueError("texts and purchases need at least one product")
    folder.mkdir(parents=True, exist_ok=True)
    products = list(islice(iter_products(num_products, seed), MAX_KNOWN_PRODUCTS))
    catalog = iter_catalog_tables(num_products, seed)
    examples = iter_example_tables(products, num_examples, seed)
    requests = iter_request_tables(products, num_requests, seed)
    images = iter_image_tables(num_images, seed)
    interactions = iter_interaction_tables(products, num_interactions, seed, last_day)
    tables = {
        CATALOG.name: (num_products, catalog, CATALOG_SCHEMA),
        COPY_EXAMPLES.name: (num_examples, examples, EXAMPLES_SCHEMA),
        COPY_REQUESTS.name: (num_requests, requests, REQUESTS_SCHEMA),
        IMAGES.name: (num_images, images, IMAGES_SCHEMA),
        INTERACTIONS.name: (num_interactions, interactions, INTERACTIONS_SCHEMA),
    }
    paths = {}
    for name, (num_rows, chunks, schema) in tables.items():
        if num_rows:
            paths[name] = folder / f"{name}.parquet"
            write_file(paths[name], _batches(chunks), schema)
    return paths


def _batches(tables: Iterator[pa.Table]) -> Iterator[pa.RecordBatch]:
    for table in tables:
        yield from table.to_batches()
