"""How a line is sent: the seam to HTTP, and what is behind it."""
