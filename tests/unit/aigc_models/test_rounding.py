from math import ceil

from aigc_models.rounding import ceil_div


def test_quotients_are_rounded_up() -> None:
    for number in range(-10, 30):
        assert ceil_div(number, 4) == ceil(number / 4)
    assert ceil_div(10**30 + 1, 10) == 10**29 + 1, "exact where floats are not"
