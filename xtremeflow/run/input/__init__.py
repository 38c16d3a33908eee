"""The input of a run: lines, their source, and the key."""
