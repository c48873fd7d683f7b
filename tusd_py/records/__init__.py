"""What is known of an upload."""
