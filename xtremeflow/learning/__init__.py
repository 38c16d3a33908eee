"""Learning a provider's limits from its answers. Pure: no clock, no input or output."""
