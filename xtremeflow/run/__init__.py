"""`xtremeflow run`: a file of requests through an LLM API, at its limits."""
