"""JSON documents of the store, read strictly into dataclasses.

A document is a JSON object whose keys are the fields of a dataclass. A field with a default may be
missing: versions that wrote the document before the field existed left it out.
"""

import json
from collections.abc import Collection, Mapping
from dataclasses import MISSING, fields, is_dataclass
from functools import cache
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, cast, get_args, get_origin, get_type_hints

from infra.errors import InputError

Document = TypeVar("Document")


def read_document(
    kind: type[Document], data: bytes | str, key: str, *, retired: Collection[str] = ()
) -> Document:
    """The object that `data`, the content of `key`, holds. `retired` fields are ignored: earlier
    versions wrote them.

    Raises InputError, which names the key and the field, for a field that is missing, mistyped or
    unknown.
    """
    try:
        document = json.loads(data)
    except ValueError as exc:
        raise InputError(f"{key} is not a JSON document: {exc}") from exc
    if isinstance(document, dict):
        document = {name: value for name, value in document.items() if name not in retired}
    return cast(Document, _Reader(key).read(kind, document, ""))


@cache
def _field_types(kind: type) -> dict[str, Any]:
    return get_type_hints(kind)


class _Reader:
    """Converts JSON values to the types that dataclasses declare; `path` is the field's place in
    the document."""

    def __init__(self, key: str) -> None:
        self._key = key

    def read(self, kind: Any, value: Any, path: str) -> Any:
        if kind is Any:
            return value
        if is_dataclass(kind):
            return self._object(cast(type, kind), value, path)
        origin, parameters = get_origin(kind), get_args(kind)
        if origin is UnionType:
            return self._optional(parameters, value, path)
        if origin is Literal:
            self._require(value in parameters, value, f"one of {', '.join(parameters)}", path)
            return value
        if origin in {list, tuple}:
            self._require(isinstance(value, list), value, "a list", path)
            items = [
                self.read(parameters[0], item, f"{path}[{number}]")
                for number, item in enumerate(value)
            ]
            return tuple(items) if origin is tuple else items
        if origin in {dict, Mapping}:
            self._require(isinstance(value, dict), value, "an object", path)
            return {
                name: self.read(parameters[1], item, f"{path}.{name}")
                for name, item in value.items()
            }
        # bool is a subclass of int, and JSON writes a whole float without its point
        accepted = {float: (float, int)}.get(kind, (kind,))
        is_fitting = isinstance(value, accepted) and isinstance(value, bool) == (kind is bool)
        self._require(is_fitting, value, f"a value of type {kind.__name__}", path)
        return value

    def _object(self, kind: type, value: Any, path: str) -> Any:
        self._require(isinstance(value, dict), value, "an object", path)
        prefix = f"{path}." if path else ""
        declared = {field.name: field for field in fields(kind)}
        for name in value:
            if name not in declared:
                raise InputError(
                    f"{self._key} has the unknown field {prefix}{name}: a newer version of "
                    "Nightshift wrote it; update this one"
                )
        for name, field in declared.items():
            has_default = field.default is not MISSING or field.default_factory is not MISSING
            if name not in value and not has_default:
                raise InputError(f"{self._key} lacks the field {prefix}{name}")
        types = _field_types(kind)
        return kind(
            **{name: self.read(types[name], item, prefix + name) for name, item in value.items()}
        )

    def _optional(self, parameters: tuple[Any, ...], value: Any, path: str) -> Any:
        if value is None and NoneType in parameters:
            return None
        (kind,) = [each for each in parameters if each is not NoneType]
        return self.read(kind, value, path)

    def _require(self, is_fitting: bool, value: Any, expected: str, path: str) -> None:
        if not is_fitting:
            place = f"field {path} of {self._key}" if path else self._key
            raise InputError(f"{place} is {value!r:.80}; expected {expected}")
