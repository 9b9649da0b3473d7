"""A tiny text model, trained in a second, for tests of what is around models."""

from pathlib import Path

from aigc_models.text import TextExample, TextRequest
from aigc_models.training import TrainingSettings, train_text_model

COLOURS = ("red", "green", "blue", "black", "white")


def examples(num_products: int = 40) -> list[TextExample]:
    """Sentences of one pattern about made-up kettles."""
    found = []
    for number in range(num_products):
        colour, volume = COLOURS[number % len(COLOURS)], f"1.{number % 9} l"
        attributes = (("name", f"Kettle {number}"), ("type", "kettle"), ("colour", colour), ("volume", volume))
        text = f"The Kettle {number} is a {colour} kettle that holds {volume}."
        found.append(TextExample(TextRequest("inform", attributes), text))
    return found


def train_tiny_model(folder: Path, work_dir: Path) -> dict[str, float]:
    settings = TrainingSettings(
        width=32,
        num_layers=1,
        num_heads=2,
        max_steps=30,
        cpu_budget_s=None,
        warmup_steps=5,
        batch_tokens=512,
        num_scored=5,
    )
    work_dir.mkdir(parents=True, exist_ok=True)
    return train_text_model(examples(), folder, settings=settings, work_dir=work_dir)
