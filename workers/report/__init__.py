"""Pages that need nothing but themselves: one of each published partition, and one of all jobs and nights."""

from workers.report.overview import OVERVIEW, write_overview
from workers.report.page import has_report, report_key, write_report
from workers.report.pictures import write_grid

__all__ = ["OVERVIEW", "has_report", "report_key", "write_grid", "write_overview", "write_report"]
