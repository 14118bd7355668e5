"""The evaluation: does a bundle still behave? Scenarios, the closed loop, measures, scores and the report."""
