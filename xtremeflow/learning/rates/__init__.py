"""Rates that nobody tells: found from what is let pass and what is refused."""
