import math

import pytest
import torch

from aigc_models.recommenders.assortment import compare
from aigc_models.recommenders.data import Items

KNOWN = Items(("lamp", "kettle", "pot", "?"))
ATTRIBUTES = {
    "lamp": frozenset({"room=office", "colour=red"}),
    "kettle": frozenset({"room=kitchen", "colour=red"}),
    "pot": frozenset({"room=kitchen", "colour=blue"}),
    "pan": frozenset({"room=kitchen", "colour=blue", "made=yesterday"}),
    "cloud": frozenset({"made=yesterday"}),
}


def test_new_items_are_those_of_the_catalogue_that_are_not_known() -> None:
    assert compare(KNOWN, ATTRIBUTES).ids == ("pan", "cloud")
    assert compare(KNOWN, {}).ids == ()


def test_the_nearest_item_has_most_in_common_and_rare_attributes_count_more() -> None:
    found = compare(KNOWN, ATTRIBUTES)
    assert found.neighbours_CN[0, :2].tolist() == [KNOWN.token_of["pot"], KNOWN.token_of["kettle"]]
    kitchen, blue, red = math.log(4 / 2), math.log(4 / 1), math.log(4 / 2)
    pot = 1.0  # has all known attributes of the pan
    kettle = kitchen**2 / (math.hypot(kitchen, red) * math.hypot(kitchen, blue))
    assert found.weights_CN[0, :2].tolist() == pytest.approx(
        [pot / (pot + kettle), kettle / (pot + kettle)], rel=1e-5
    )
    assert found.weights_CN[0, 2:].tolist() == pytest.approx([0.0, 0.0], abs=1e-6)


def test_a_new_item_scores_the_mean_of_its_neighbours_or_0_without_any() -> None:
    found = compare(KNOWN, ATTRIBUTES)
    scores_BV = torch.tensor([[-1.0, -1.0, 0.1, 0.2, 0.6, 0.1]])
    pot, kettle = found.weights_CN[0, :2].tolist()
    assert found.scores(scores_BV)[0].tolist() == pytest.approx([0.6 * pot + 0.2 * kettle, 0.0])
    table_VE = torch.randn(6, 3)
    assert torch.allclose(
        found.embeddings(table_VE)[0], pot * table_VE[4] + kettle * table_VE[3], atol=1e-6
    )
