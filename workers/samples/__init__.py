"""Generated sample inputs, deterministic for a seed; `write_samples` writes one file per table."""

from workers.samples.catalog import iter_catalog_tables
from workers.samples.writing import write_samples

__all__ = ["iter_catalog_tables", "write_samples"]
