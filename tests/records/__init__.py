"""Tests of the records: one contract for every back end."""
