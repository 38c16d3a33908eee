"""The work of a scheduler in the words of its users' tools: metrics, traces and events."""
