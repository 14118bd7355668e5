"""What a target refuses of a bundle's graphs, node by node: from a table of operators, and from real parsers."""
