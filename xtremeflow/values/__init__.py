"""The values of all packages: limits, checked arguments, numbers and texts of others."""
