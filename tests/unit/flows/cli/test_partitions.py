from math import nan

from flows.cli.partitions import span_cells


def test_a_figure_that_some_nights_lack_is_spanned_by_the_others() -> None:
    assert span_cells([nan, 3.0, 0.5, nan]) == ["", "0.5", "3"]
    assert span_cells([nan]) == ["", "", ""]
