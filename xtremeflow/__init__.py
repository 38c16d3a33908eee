"""XtremeFlow: asyncio calls to LLM APIs, dispatched at the provider's limits."""
