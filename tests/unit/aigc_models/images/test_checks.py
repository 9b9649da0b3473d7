import pytest

from aigc_models.images.checks import Checks


def test_a_picture_has_at_least_one_candidate() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        Checks(num_candidates=0)
