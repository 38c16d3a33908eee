"""The costs of calls: estimated, charged by the provider, and settled."""
