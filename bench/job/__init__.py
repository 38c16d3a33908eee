"""A whole job at a strict provider: in one process by each library, and by `xtremeflow run`."""
