"""Sample inputs that the project makes itself, the same for the same seed: `write_samples` gives a
file per table."""

from workers.samples.catalog import iter_catalog_tables
from workers.samples.writing import write_samples

__all__ = ["iter_catalog_tables", "write_samples"]
