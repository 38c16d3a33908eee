"""Helpers for all folders of tests: `kit` to each, since pytest puts tests/ on the path."""
