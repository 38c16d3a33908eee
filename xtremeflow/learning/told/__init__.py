"""Limits that the provider's answers tell."""
