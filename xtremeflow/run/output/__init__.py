"""What a run leaves behind: results, errors, and what is kept about the runs."""
