"""Is anything ever lost? One scheduler, nothing configured, through all that providers do in turn.

./dev bench soak                  100,000 calls on a virtual clock, some minutes of computing
./dev bench soak --calls 5000     fewer; each phase has its part of them
./dev bench soak outage static    only phases with one of these in their name
./dev bench soak http             500 over HTTP, in real time: the client and the openai SDK

In each phase the provider is another way not what it says. Then the books are compared: every call
is answered once, with its own answer; none has raised; nothing waits or is in flight; each attempt
is one that the provider knows; it has charged what it let pass, and the scheduler has counted what
was sent. In the end every limit is whole again, and a call passes at once. A difference is printed
below the table, and the command fails.
"""
