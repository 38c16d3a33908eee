"""The CPU of a call over HTTP, by client."""
