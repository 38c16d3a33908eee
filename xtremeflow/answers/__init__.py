"""What an answer is, and what it means: one value, and one verdict for all that ask."""
