"""What a text should state: an intent and attributes, alone or with a reference text by a
person."""

from dataclasses import dataclass

Attributes = tuple[tuple[str, str | None], ...]
"""Keys and values in the order of the act. A key may repeat; attributes after a name belong to it.
None: the text only asks for the value."""


@dataclass(frozen=True, slots=True)
class TextRequest:
    intent: str
    attributes: Attributes
    continued: bool = False
    """Whether this is a later sentence of a text that has already named its subject."""


@dataclass(frozen=True, slots=True)
class TextExample:
    request: TextRequest
    reference: str


@dataclass(frozen=True, slots=True, order=True)
class Slot:
    """The place of a value that the text repeats verbatim: its key, and which attribute of that key
    it is, from 1."""

    key: str
    number: int


Segments = tuple[str | Slot, ...]
"""A delexicalised text: literal pieces and slots."""
