"""What all the rest is written in: limits, checked arguments, numbers and texts of others."""
