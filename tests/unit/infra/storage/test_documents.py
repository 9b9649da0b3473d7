import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import pytest

from infra.errors import InputError
from infra.storage.documents import read_document

KEY = "models/m/document.json"


@dataclass(frozen=True, slots=True)
class Inner:
    name: str
    sizes: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outer:
    state: Literal["good", "bad"]
    inner: Inner
    seconds: float
    is_done: bool
    settings: Mapping[str, Any]
    notes: list[str] = field(default_factory=list)
    previous: str | None = None


WHOLE = {
    "state": "good",
    "inner": {"name": "a", "sizes": [1, 2]},
    "seconds": 1,
    "is_done": True,
    "settings": {"seed": [0]},
}


def read(changes: dict[str, Any], *, without: str = "") -> Outer:
    document = {name: value for name, value in (WHOLE | changes).items() if name != without}
    return read_document(Outer, json.dumps(document), KEY, retired={"old"})


def test_fields_of_every_kind_are_read() -> None:
    assert read({"old": 1, "notes": ["n"], "previous": "p"}) == Outer(
        state="good",
        inner=Inner("a", (1, 2)),
        seconds=1,
        is_done=True,
        settings={"seed": [0]},
        notes=["n"],
        previous="p",
    )


def test_a_field_with_a_default_may_be_missing() -> None:
    assert read({}).previous is None
    assert read({}).notes == []


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"seconds": "1"}, "field seconds of .* is '1'; expected a value of type float"),
        ({"seconds": True}, "field seconds of .* expected a value of type float"),
        ({"is_done": 1}, "field is_done of .* expected a value of type bool"),
        ({"state": "odd"}, "field state of .* is 'odd'; expected one of good, bad"),
        ({"inner": []}, "field inner of .* expected an object"),
        ({"inner": {"name": "a", "sizes": 3}}, "field inner.sizes of .* expected a list"),
        ({"inner": {"name": "a", "sizes": [1, None]}}, r"field inner.sizes\[1\] of .* type int"),
        ({"inner": {"name": "a"}}, f"{KEY} lacks the field inner.sizes"),
        ({"settings": None}, "field settings of .* expected an object"),
        ({"previous": 3}, "field previous of .* expected a value of type str"),
        ({"later": 3}, f"{KEY} has the unknown field later: a newer version of Nightshift"),
    ],
)
def test_a_field_that_does_not_fit_is_named(changes: dict[str, Any], expected: str) -> None:
    with pytest.raises(InputError, match=expected):
        read(changes)


def test_a_missing_field_is_named() -> None:
    with pytest.raises(InputError, match=f"{KEY} lacks the field seconds"):
        read({}, without="seconds")


@pytest.mark.parametrize("data", ["", "[]", "null", b"\xff"])
def test_what_is_not_an_object_is_refused_by_its_key(data: str | bytes) -> None:
    with pytest.raises(InputError, match=KEY):
        read_document(Outer, data, KEY)
