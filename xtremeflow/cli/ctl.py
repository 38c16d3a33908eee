"""`xtremeflow ctl`: controls a job that runs with --web, as its page does."""

from __future__ import annotations

import argparse
import json
import os
import sys
import urllib.error
import urllib.request
from collections.abc import Sequence
from typing import Any

from xtremeflow.cli.address import Address, address
from xtremeflow.cli.amounts import amount, per_period, whole
from xtremeflow.cli.parser import Parser

FAILED = 1
_TOKEN = "XTREMEFLOW_TOKEN"
_PATIENCE = 10.0  # s
EXAMPLES = """\
examples:
  xtremeflow ctl 8080 status
  xtremeflow ctl 8080 pause
  xtremeflow ctl 8080 concurrency 64
  xtremeflow ctl 8080 limit tokens 2M           per the limit's own period
  xtremeflow ctl 8080 limit requests 300/min    an upper bound, also of a limit that is learned
  xtremeflow ctl 8080 limit requests learned    and its way back
  xtremeflow ctl build.example:8080 drain --token ...
"""


def main(arguments: Sequence[str] | None = None) -> int:
    parser = _parser()
    options = parser.parse_args(arguments)
    try:
        order = _order(options)
    except argparse.ArgumentTypeError as error:
        parser.error(f"{options.action}: {error}")
    try:
        told = _ask(options.where, order, options.token or os.environ.get(_TOKEN))
    except urllib.error.HTTPError as error:
        with error:
            print(f"{parser.prog}: {_reason(error)}", file=sys.stderr)
        return FAILED
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        print(f"{parser.prog}: {options.where} does not answer: {reason}", file=sys.stderr)
        return FAILED
    print(json.dumps(told, indent=2) if order is None else told["done"])
    return 0


def _order(options: argparse.Namespace) -> dict[str, Any] | None:
    """Returns the control; None for the status. Raises ArgumentTypeError."""
    values: list[str] = options.values
    wanted = {"concurrency": ("N",), "limit": ("NAME", "AMOUNT")}.get(options.action, ())
    if len(values) != len(wanted):
        raise argparse.ArgumentTypeError(f"takes {' '.join(wanted) or 'no argument'}")
    if options.action == "status":
        return None
    order: dict[str, Any] = {"action": options.action}
    if options.scheduler is not None:
        order["scheduler"] = options.scheduler
    if options.action == "concurrency":
        order["calls"] = None if values[0] == "none" else whole(values[0])
    elif options.action == "limit":
        order |= {"name": values[0]} | _bound(values[1])
    return order


def _bound(text: str) -> dict[str, float | None]:
    """Returns what a limit is set to, in the words of `Controls.do`."""
    units, per = per_period(text)
    return {"amount": None if units == "learned" else amount(units), "per": per}


def _ask(where: Address, order: dict[str, Any] | None, token: str | None) -> Any:
    headers = {"content-type": "application/json"}
    if token is not None:
        headers["authorization"] = f"Bearer {token}"
    body = None if order is None else json.dumps(order).encode()
    path = "state" if order is None else "control"
    request = urllib.request.Request(f"http://{where}/{path}", body, headers)
    with urllib.request.urlopen(request, timeout=_PATIENCE) as answer:
        return json.load(answer)


def _reason(error: urllib.error.HTTPError) -> str:
    try:
        return str(json.load(error)["error"])
    except (ValueError, KeyError, TypeError):
        return f"HTTP {error.code}"


def _parser() -> Parser:
    parser = Parser(
        prog="xtremeflow ctl",
        description="Controls a run that was started with --web, or a program that serves a\n"
        "dashboard.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("where", type=address, metavar="[HOST:]PORT", help="the address of the page")
    add("action", choices=("status", "pause", "resume", "drain", "limit", "concurrency"),
        help="drain ends a run once the calls in flight have ended")  # fmt: skip
    add("values", nargs="*", default=[], metavar="VALUE", help="of limit: its name, and its new "
        "amount, or learned, either with /s, /min, /h or /day where it matters; of concurrency: "
        "the calls at a time, or none")  # fmt: skip
    add("--scheduler", metavar="NAME", help="which one, of several")
    add("--token", help=f"the page's token (default: the environment's {_TOKEN})")
    return parser
