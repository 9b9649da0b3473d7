"""The errors that a user can meet, and the exit status each one ends the command line with.

    NightshiftError                1  something went wrong while working
    ├── InputError                 2  bad input or usage: names the file, column and row, and what
    was expected ├── SettingsError              2  a setting is missing or makes no sense
    ├── StorageError               2  the store cannot be used: endpoint, keys, bucket, disk full
    │   ├── ObjectNotFound         2  the store works, the key is not there
    │   ├── StorageAway            1  it does not answer, or only that it cannot: later it may
    │   └── PreconditionFailed     1  a conditional write lost against another writer
    ├── ServiceError               1  Ray or Prefect is not there or refused
    ├── GenerationError            1  shards could not be generated
    │   └── OutOfMemory            1  not even one row at a time fits into memory
    └── PartitionHeld              3  a quality gate holds the partition back

Errors of other libraries are converted once, at the edge where they are met, with `from exc`.
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
    """The key is not in the store."""


class StorageAway(StorageError):
    """The store did not answer for as long as that is borne, or said to the end that it cannot just
    now."""

    exit_code = 1


class PreconditionFailed(StorageError):
    """Another writer was there first; what this writer held is stale."""

    exit_code = 1


class ServiceError(NightshiftError):
    """Ray or Prefect cannot be reached, or cannot give what was asked for."""


class GenerationError(NightshiftError):
    """Shards failed for good; finished ones are kept and a rerun resumes."""


class OutOfMemory(GenerationError):
    """A single row does not fit into an actor's memory; another node, or settings that take less,
    may do."""


class PartitionHeld(NightshiftError):
    exit_code = 3
