"""What a text is asked for: an intent and attributes, with or without the text a person wrote for
it."""

from dataclasses import dataclass

Attributes = tuple[tuple[str, str | None], ...]
"""Keys and values in the order of the act. A key may repeat; what follows a name is of it. None:
only asked for."""


@dataclass(frozen=True, slots=True)
class TextRequest:
    intent: str
    attributes: Attributes
    continued: bool = False
    """A further sentence of a text that has named its subject already."""


@dataclass(frozen=True, slots=True)
class TextExample:
    request: TextRequest
    reference: str


@dataclass(frozen=True, slots=True, order=True)
class Slot:
    """The place of one value that is repeated verbatim: its key, and which attribute of that key in
    the act it is."""

    key: str
    number: int


Segments = tuple[str | Slot, ...]
"""A delexicalised text: literal pieces and slots in turn."""
