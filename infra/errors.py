"""The errors that a user can meet, with the exit status of each on the command line.

    NightshiftError                1  a command failed
    ├── InputError                 2  bad input or usage: names file, column, row, expected value
    ├── SettingsError              2  a setting is missing or invalid
    ├── StorageError               2  the store cannot be used: endpoint, keys, bucket, full disk
    │   ├── ObjectNotFound         2  the store works, but the key does not exist
    │   ├── StorageAway            1  the store does not answer now; a retry may succeed
    │   └── PreconditionFailed     1  a conditional write lost against another writer
    ├── ServiceError               1  Ray or Prefect does not answer, or refuses
    ├── GenerationError            1  shards could not be generated
    │   └── OutOfMemory            1  a single row does not fit into memory
    └── PartitionHeld              3  a quality gate holds the partition back

Errors of other libraries are converted once, where they are caught, with `from exc`.
"""

from typing import ClassVar


class NightshiftError(Exception):
    """The root of the tree; its message is written for the person at the terminal."""

    exit_code: ClassVar[int] = 1


class InputError(NightshiftError):
    exit_code = 2


class SettingsError(NightshiftError):
    exit_code = 2


class StorageError(NightshiftError):
    exit_code = 2


class ObjectNotFound(StorageError):
    """The key does not exist in the store."""


class StorageAway(StorageError):
    """The store did not answer, or answered only "not now", until the retries ended."""

    exit_code = 1


class PreconditionFailed(StorageError):
    """Another writer was faster; what this writer read is stale."""

    exit_code = 1


class ServiceError(NightshiftError):
    """Ray or Prefect cannot be reached, or refuses a request."""


class GenerationError(NightshiftError):
    """Shards failed after all retries; finished ones are kept, and another run resumes."""


class OutOfMemory(GenerationError):
    """A single row does not fit into an actor's memory; a larger node or smaller settings help."""


class PartitionHeld(NightshiftError):
    exit_code = 3
