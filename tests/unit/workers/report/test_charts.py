from datetime import date, timedelta

import pytest

from workers.report.charts import MAX_DAY_LABELS, Trend, draw_trends, label_days

FIRST = date(2026, 11, 29)


def days(num_days: int) -> list[date]:
    return [FIRST + timedelta(days=number) for number in range(num_days)]


@pytest.mark.parametrize("num_days", [2, 3, 4, 5, 30])
def test_a_trend_labels_a_day_once(num_days: int) -> None:
    chart = draw_trends([Trend("rows", days(num_days), [float(n) for n in range(num_days)])])
    assert chart.count(">29 Nov<") == 1


@pytest.mark.parametrize("num_days", [1, 2, 4, 5, 8, 30])
def test_labels_start_at_the_first_day_and_are_few(num_days: int) -> None:
    labels = label_days(days(num_days))
    assert labels[0] == FIRST
    assert labels[-1] <= days(num_days)[-1]
    assert len(labels) <= MAX_DAY_LABELS
    assert len(set(labels)) == len(labels)
