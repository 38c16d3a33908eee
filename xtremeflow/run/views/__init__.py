"""The views of a run: while it goes on, at its end, and as a picture."""
