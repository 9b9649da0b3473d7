"""The report of a published partition: one page that needs nothing but itself."""

from workers.report.page import has_report, report_key, write_report

__all__ = ["has_report", "report_key", "write_report"]
