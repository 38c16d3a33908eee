"""The prefixes that prompts have in common, found in the bodies of requests."""
