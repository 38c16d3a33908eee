"""The run itself: each line a call, each call a line of the output."""
