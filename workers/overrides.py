"""Applies settings given as text (`--set key=value` or a form) to a settings dataclass."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from infra.errors import InputError

Kind = TypeVar("Kind")


def override(base: Kind, overrides: Mapping[str, Any], what: str) -> Kind:
    """The settings dataclass `base` with `overrides` converted to its fields' types.

    Raises InputError that starts with `what` and names the wrong setting.
    """
    known = [field.name for field in fields(base)]  # type: ignore[arg-type]  # Kind is a dataclass
    unknown = [key for key in overrides if key not in known]
    if unknown:
        raise InputError(
            f"{what}: there is no setting {unknown[0]!r}; there are {', '.join(known)}"
        )
    try:
        return TypeAdapter(type(base)).validate_python(asdict(base) | dict(overrides))  # type: ignore[call-overload]
    except ValidationError as exc:
        problems = (
            f"{'.'.join(map(str, error['loc']))}: {error['msg']}".removeprefix(": ")
            for error in exc.errors()
        )
        raise InputError(f"{what}: {'; '.join(problems)}") from exc


def parse_assignments(words: Sequence[str]) -> dict[str, str]:
    """["key=value", …] as a dict; raises InputError for a word without `=`."""
    pairs = [word.partition("=") for word in words]
    for key, equals, _ in pairs:
        if not equals or not key:
            raise InputError(f"setting {key!r}: expected key=value, such as temperature=0.7")
    return {key.strip(): value.strip() for key, _, value in pairs}
