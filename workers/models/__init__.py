"""All models. A further model is one file beside this one and one line here."""

from workers.model import ModelDeclaration
from workers.models import copywriter, image_generator, recommender

MODELS: dict[str, ModelDeclaration] = {
    "copywriter": copywriter.MODEL,
    "image_generator": image_generator.MODEL,
    "recommender": recommender.MODEL,
}
