"""The evaluation: does a bundle still behave? Scenarios, the closed loop, measures, scores and the report."""

LEAST_LONG = 8.5
"""Minutes of one run that hold two rounds of all kinds; those take 7.7 to 8. Here, so that help needs no library."""
