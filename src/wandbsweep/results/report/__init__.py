"""``wandbsweep report``: a sweep as one HTML file that needs nothing else."""

from wandbsweep.results.report.page import render, write

__all__ = ["render", "write"]
