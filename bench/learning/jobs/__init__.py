"""Jobs at providers that keep their word. The client is not told their limits."""
