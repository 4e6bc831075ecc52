"""The page `report.html`: one file that shows a run, or compares several, made from their ledgers alone."""

NAME = "report.html"
