"""Several processes on one account."""
