"""`python -m xtremeflow.demo`: the whole chain, on this machine and without an account.

It writes a sample of a real trace as a file of requests. `xtremeflow serve` plays the provider in a
process of its own, and `xtremeflow run` sends the file through it. Then the usual way, a semaphore
with retries, does the same job.
"""
