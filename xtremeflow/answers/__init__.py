"""Answers of providers: one value for each, and one verdict on its meaning."""
