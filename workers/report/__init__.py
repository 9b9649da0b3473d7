"""Self-contained HTML pages: one for each published partition, and one for all jobs and nights."""

from workers.report.overview import (
    OVERVIEW,
    SIGNS,
    SUMS,
    calendar_days,
    make_day,
    sum_up,
    write_overview,
)
from workers.report.page import has_report, reasons_set_aside, report_key, write_report
from workers.report.pictures import write_grid
from workers.report.trend import trend_figures

__all__ = [
    "OVERVIEW",
    "SIGNS",
    "SUMS",
    "calendar_days",
    "has_report",
    "make_day",
    "reasons_set_aside",
    "report_key",
    "sum_up",
    "trend_figures",
    "write_grid",
    "write_overview",
    "write_report",
]
