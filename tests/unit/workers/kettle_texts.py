"""Easy texts that a tiny model learns in seconds, for tests of what is around models."""

from aigc_models.text.model import TextExample, TextRequest

COLOURS = ("red", "green", "blue", "black", "white")


def examples(num_products: int) -> list[TextExample]:
    """Sentences of one pattern about made-up kettles."""
    found = []
    for number in range(num_products):
        colour, volume = COLOURS[number % len(COLOURS)], f"1.{number % 9} l"
        attributes = (
            ("name", f"Kettle {number}"),
            ("type", "kettle"),
            ("colour", colour),
            ("volume", volume),
        )
        text = f"The Kettle {number} is a {colour} kettle that holds {volume}."
        found.append(TextExample(TextRequest("inform", attributes), text))
    return found
