"""Jobs whose prompts share prefixes, at providers with caches, on a virtual clock."""
