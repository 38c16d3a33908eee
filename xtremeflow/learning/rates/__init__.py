"""Rates that answers do not tell, found from the calls that pass and that are refused."""
