"""`python -m xtremeflow.demo`: the whole chain, on this machine and without an account.

A sample of a real trace is written as a file of requests, `xtremeflow serve` plays the provider in
a process of its own, `xtremeflow run` sends the file through it, and then the usual way of doing
it does the same.
"""
