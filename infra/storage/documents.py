"""JSON documents of the store, read strictly into dataclasses.

A document is a JSON object whose keys are the fields of a dataclass. A field with a default may be
missing: versions that wrote the document before the field existed left it out.
"""

import json
from collections.abc import Collection, Mapping
from dataclasses import MISSING, fields, is_dataclass
from functools import cache
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, Union, cast, get_args, get_origin, get_type_hints

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
        if is_dataclass(kind):
            return self._object(cast(type, kind), value, path)
        origin, parameters = get_origin(kind), get_args(kind)
        if origin in {UnionType, Union}:
            return self._optional(parameters, value, path)
        if origin is Literal:
            self._require(value in parameters, value, f"one of {', '.join(parameters)}", path)
        if origin in {list, tuple}:
            items = self._items(parameters[0], value, path)
            return tuple(items) if origin is tuple else items
        if origin in {dict, Mapping}:
            return self._mapping(parameters[1], value, path)
        if kind in {str, int, float, bool}:
            self._require(_is_scalar(kind, value), value, f"a value of type {kind.__name__}", path)
        return value  # also what is declared as Any

    def _items(self, kind: Any, value: Any, path: str) -> list[Any]:
        self._require(isinstance(value, list), value, "a list", path)
        return [self.read(kind, item, f"{path}[{number}]") for number, item in enumerate(value)]

    def _mapping(self, kind: Any, value: Any, path: str) -> dict[str, Any]:
        self._require(isinstance(value, dict), value, "an object", path)
        return {name: self.read(kind, item, f"{path}.{name}") for name, item in value.items()}

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


def _is_scalar(kind: type, value: Any) -> bool:
    # to Python a bool is an int; JSON may write a whole float without its point
    if isinstance(value, bool):
        return kind is bool
    return isinstance(value, (int, float) if kind is float else kind)
