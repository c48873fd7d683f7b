"""What others may hear."""
