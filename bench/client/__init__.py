"""The clients that make the load: one in C for many small requests, one in Python for large bodies."""
