"""All models. To add a model, add one file to this folder and one line here."""

from workers.model import ModelDeclaration
from workers.models import copywriter, image_generator, recommender

MODELS: dict[str, ModelDeclaration] = {
    "copywriter": copywriter.MODEL,
    "image_generator": image_generator.MODEL,
    "recommender": recommender.MODEL,
}
