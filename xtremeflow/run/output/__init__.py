"""The output of a run: results, errors, and the history of runs."""
