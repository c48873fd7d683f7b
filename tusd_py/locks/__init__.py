"""One writer an upload, and a polite push."""
