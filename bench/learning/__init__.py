"""Limits that the client is not told: how well it learns them, beside other ways; in virtual time.

./dev bench learning                       the tables of `perverse` and of `sharing`
./dev bench learning perverse static 1     only providers with one of these in their name
./dev bench learning sharing openai        only this profile's
./dev bench learning --seeds 2 --minutes 5 --ways xtremeflow    less of it
./dev bench learning http                  two `xtremeflow run` on one account, in real time
./dev bench learning jobs openai azure     jobs at providers that are what they say; `jobs --help`
./dev bench learning slots                 providers that limit the calls in flight; `slots --help`
./dev bench learning charges               what providers charge, found out; `charges --help`
./dev bench learning plot docs             the pictures of the documentation, into this folder
"""
