"""The dashboard of schedulers, for programs: `scheduler.serve_dashboard()`."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from xtremeflow.cli.address import LOOPBACK, Address
from xtremeflow.scheduler import TaskScheduler
from xtremeflow.telemetry.measures import named_schedulers
from xtremeflow.values.arguments import check_address
from xtremeflow.web.control import Controls
from xtremeflow.web.feed import Feed
from xtremeflow.web.sample import stamped
from xtremeflow.web.server import Server


def serve_dashboard(
    schedulers: TaskScheduler | Mapping[str, TaskScheduler],
    *,
    port: int = 0,
    host: str = LOOPBACK,
    token: str | None = None,
) -> Server:
    """Returns the server of a page that shows these schedulers and controls them.

    See `xtremeflow.scheduler.base.TaskScheduler.serve_dashboard`. Several schedulers are given by
    name, and the page lets its reader choose among them.
    """
    by_name = named_schedulers(schedulers)
    check_address(host, port)
    feed = Feed(partial(stamped, by_name, None))
    return Server(feed, Controls(by_name), Address(host, port), token)
