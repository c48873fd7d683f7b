"""Many processes, one server: a parent that accepts and watches, workers that serve."""
