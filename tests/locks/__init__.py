"""Tests of the locks: one contract for every kind."""
