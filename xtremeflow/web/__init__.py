"""The dashboard: one page that shows schedulers while they work, and controls them."""
