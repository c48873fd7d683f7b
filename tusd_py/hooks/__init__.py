"""What others may hear of uploads, and later veto."""
