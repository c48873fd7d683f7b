"""Tests of the real command as a process on real sockets: they know the specification, not the code."""
