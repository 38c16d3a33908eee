"""The number of calls that a provider takes at a time."""
