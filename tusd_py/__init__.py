"""tusd-py: a self-hosted resumable-upload server for any tus client."""

__version__ = "0.1.0"
