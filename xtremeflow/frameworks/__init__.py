"""Adapters: frameworks whose calls a scheduler admits. Each module needs a package of its own."""
