"""How many calls at a time a provider takes."""
