from dataclasses import replace

import pyarrow as pa

from tests.unit.workers.picture_files import drawings
from tests.unit.workers.plans.test_plan import plan_of
from workers.pins import Order
from workers.quality.gates import find_breaches
from workers.quality.images import IMAGE_GATES, ImageMeter

PLAN = replace(plan_of((1,)), orders=(Order(0, "disc", 20), Order(1, "cross", 10)))


def measured(*tables: pa.Table) -> dict[str, float]:
    meter = ImageMeter()
    for table in tables:
        for batch in table.select(["image", "label"]).to_batches():
            meter.add(batch)
    return {"passed_share": 1.0, **meter.quality(PLAN.orders, {})}


def test_different_pictures_of_every_class_keep_all_gates() -> None:
    quality = measured(drawings({(0, "disc"): 20, (1, "cross"): 9}))
    assert quality["lowest_class_share"] == 0.9
    assert quality["duplicate_share"] == 0.0
    assert 0.05 < quality["lowest_diversity"] <= quality["diversity"] < 0.5
    assert find_breaches(IMAGE_GATES, quality, quality) == []


def test_a_generator_that_always_makes_the_same_picture_is_held_back() -> None:
    one = drawings({(0, "disc"): 1})
    quality = measured(*[one] * 20)
    found = {breach.gate for breach in find_breaches(IMAGE_GATES, quality, None)}
    assert found == {"lowest_class_share", "duplicate_share", "lowest_diversity"}


def test_a_partition_without_pictures_has_quality_too() -> None:
    assert measured() == {"passed_share": 1.0, "lowest_class_share": 0.0, "duplicate_share": 0.0}


def test_single_pictures_of_a_class_are_not_held_back_for_their_diversity() -> None:
    quality = measured(drawings({(0, "disc"): 1, (1, "cross"): 1}))
    found = [
        breach.gate
        for breach in find_breaches(IMAGE_GATES, quality | {"lowest_class_share": 1.0}, quality)
    ]
    assert found == []
