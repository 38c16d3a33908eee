"""`python -m xtremeflow COMMAND ...`."""

import sys

from xtremeflow.cli import main

sys.exit(main())
