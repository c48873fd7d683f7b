"""The pure parts of the benchmark: parsing, medians, musts, tables. Its measures are never timed tests."""
