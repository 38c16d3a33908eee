"""The interface to HTTP, and its implementation."""
