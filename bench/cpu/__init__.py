"""The cost of a call in the scheduler: CPU, memory and lateness."""
