"""A provider that exists in memory only: its clock, limits and delays, and a real trace for it.

`xtremeflow.testing` is its public name, `xtremeflow.serve` its face over HTTP.
"""
