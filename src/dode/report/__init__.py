"""The report of a comparison: one HTML file that needs nothing else, to look at and to send on."""

from dode.report.page import write

__all__ = ["write"]
