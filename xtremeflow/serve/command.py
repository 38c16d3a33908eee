"""`xtremeflow serve`: a simulated provider over HTTP, until Ctrl-C."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import importlib.util
import signal
import sys
from collections.abc import Generator, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from xtremeflow.cli.address import Address, address
from xtremeflow.cli.amounts import whole
from xtremeflow.cli.parser import Parser
from xtremeflow.providers.provider import QUOTAS
from xtremeflow.serve.faults import KINDS, Fault
from xtremeflow.serve.profiles import PROFILES
from xtremeflow.serve.settings import Settings
from xtremeflow.simulation.latency import LatencyModel
from xtremeflow.simulation.quirks import Quirks

if TYPE_CHECKING:
    from xtremeflow.serve.server import SimulatedServer

NEEDED = ("uvicorn", "httptools")
EXAMPLES = """\
examples:
  xtremeflow serve                                   OpenAI with its usual limits, on port 8000
  xtremeflow serve --profile anthropic --itpm 50000  Anthropic with a tight limit on input
  xtremeflow serve --speed 12 --fault cut=0.01       a minute in 5 s, and 1 % of the answers cut off
  xtremeflow serve --quirk quantum=1                 a minute's limits, enforced by the second

An answer has the length that the request tells: metadata {"output_tokens": "57"} in its body, or
the header x-simulated-output-tokens: 57; otherwise a random one, the same for the same prompt.
While it runs: GET /admin/stats, POST /admin/reset, GET, POST or DELETE /admin/faults,
GET or POST /admin/limits, GET, POST or DELETE /admin/quirks, POST /admin/spent.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    parser = _parser()
    options = parser.parse_args(arguments)
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        parser.error(f"{' and '.join(missing)} missing: pip install 'xtremeflow[serve]'")
    if options.metrics is not None and importlib.util.find_spec("prometheus_client") is None:
        parser.error("--metrics needs prometheus_client: pip install 'xtremeflow[metrics]'")
    try:
        server = _server(options)
    except (ValueError, TypeError) as error:
        parser.error(str(error))
    try:
        _run(_serve(server, Address(options.host, options.port), options.metrics))
    except _NotListening as error:
        print(f"xtremeflow serve: cannot listen on {error}", file=sys.stderr)
        return 1
    return 0


def _run(main: Any) -> None:
    """Runs `main` on uvloop where that is installed, which takes a third less CPU for a call."""
    if importlib.util.find_spec("uvloop") is None:
        asyncio.run(main)
    else:
        import uvloop

        uvloop.run(main)


class _NotListening(Exception):
    """An address cannot be listened on. The message says which, and why."""

    def __init__(self, where: Address, error: OSError) -> None:
        super().__init__(f"{where.host}, port {where.port}: {error.strerror}")


async def _serve(server: SimulatedServer, where: Address, metrics: Address | None) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    async with contextlib.AsyncExitStack() as stack:
        try:
            await stack.enter_async_context(server)
        except OSError as error:
            raise _NotListening(where, error) from None
        print(_greeting(server), flush=True)
        if metrics is not None:
            print(f"Metrics: {stack.enter_context(_measured(server, metrics))}", flush=True)
        await stop.wait()
        print(_farewell(server.stats()))


@contextlib.contextmanager
def _measured(server: SimulatedServer, where: Address) -> Generator[str, None, None]:
    """Serves the provider's metrics within the block. Yields their URL."""
    from xtremeflow.serve.measures import MEASURES
    from xtremeflow.telemetry.prometheus import Measured, serving

    with contextlib.ExitStack() as stack:
        try:
            collector = Measured(MEASURES, lambda: {(): server.stats()})
            url = stack.enter_context(serving(*where, [collector]))
        except OSError as error:
            raise _NotListening(where, error) from None
        yield url


def _greeting(server: SimulatedServer) -> str:
    service = server.service
    limits = ", ".join(
        f"{amount:,} {QUOTAS[name]}" for name, amount in service.account.amounts.items()
    )
    speed = service.settings.speed
    faster = f" (a minute lasts {service.settings.minute:g} s)" if speed != 1 else ""
    return "\n".join(
        [
            f"A simulated {service.profile.title} is listening.",
            f"  base URL: {server.base_url}",
            f"  limits:   {limits or 'none'}{faster}",
            f"  stats:    {server.url}/admin/stats",
            "Any API key will do. Ctrl-C stops it."
            if service.settings.only_key is None
            else "Ctrl-C stops it.",
        ]
    )


def _farewell(seen: dict[str, Any]) -> str:
    return (
        f"\n{seen['attempts']:,} calls: {seen['succeeded']:,} answered, {seen['refused']:,} refused"
        f" ({seen['early']:,} calls came too early), {seen['failed']:,} failed, "
        f"{seen['abandoned']:,} abandoned; at most {seen['peak_concurrency']:,} at once"
    )


def _server(options: argparse.Namespace) -> SimulatedServer:
    from xtremeflow.serve.server import SimulatedServer

    return SimulatedServer(_settings(options), host=options.host, port=options.port)


def _settings(options: argparse.Namespace) -> Settings:
    latency = LatencyModel(
        round_trip=0.0, first_token=0.0, per_prompt_token=0.0, per_output_token=0.0, jitter=0.0
    )
    if not options.instant:
        latency = LatencyModel(
            round_trip=options.round_trip,
            first_token=options.first_token,
            per_prompt_token=options.per_prompt_token,
            per_output_token=options.per_output_token,
            jitter=options.jitter,
        )
    given = vars(options)
    faults = [Fault.from_text(text) for text in options.fault]
    return Settings(
        profile=options.profile,
        limits={name: given[name] for name in QUOTAS if name in given},
        speed=options.speed,
        latency=latency,
        output_tokens=options.output_tokens,
        output_spread=options.output_spread,
        tokens_per_event=options.tokens_per_event,
        credit=options.credit,
        only_key=options.only_key,
        only_models=options.only_models,
        faults=[Fault(f.kind, f.rate, f.count, options.fault_seconds) for f in faults],
        quirks=Quirks.from_texts(options.quirk),
        batch=options.batch,
        cache_room=options.cache_room,
        keep_alive=options.keep_alive,
        seed=options.seed,
    )


def _amount(text: str) -> int | None:
    """Reads an amount as `xtremeflow run` does: `100_000`, `100k`, `2M` or `none`."""
    if text == "none":
        return None
    try:
        return whole(text)
    except argparse.ArgumentTypeError as error:
        raise argparse.ArgumentTypeError(f"{error}; 'none' is no limit") from None


def _profiles() -> str:
    lines = ["profiles, their usual limits, and those that can be set:"]
    for name, profile in PROFILES.items():
        limits = [f"{key} {n:,}" if n else key for key, n in profile.quotas.items()]
        lines.append(f"  {name:<11}{', '.join(limits)}")
    return "\n".join(lines)


def _parser() -> Parser:
    parser = Parser(
        prog="xtremeflow serve",
        description="Serves a simulated LLM provider over HTTP, without an account: its APIs, its\n"
        "headers, its errors and its limits, as strict as the real one's.",
        epilog=f"{_profiles()}\n\n{EXAMPLES}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    model = LatencyModel()
    add = parser.add_argument
    add(
        "--profile",
        choices=PROFILES,
        default="openai",
        metavar="NAME",
        help="which provider, of those below (default: openai)",
    )
    add("--host", default="127.0.0.1", help="address to listen on (default: 127.0.0.1)")
    add(
        "--port",
        type=int,
        default=8000,
        help="port to listen on; 0 is any free one (default: 8000)",
    )
    add(
        "--speed",
        type=float,
        default=1.0,
        metavar="X",
        help="let the provider's time run X times faster (default: 1)",
    )
    add(
        "--metrics",
        type=address,
        metavar="[HOST:]PORT",
        help="serve Prometheus metrics there (host: by default only this one)",
    )
    add("--seed", type=int, default=0, metavar="N", help="of all chance (default: 0)")
    add("--only-key", metavar="KEY", help="answer any other API key with 401")
    add(
        "--only-models",
        type=lambda text: text.split(","),
        metavar="A,B",
        help="answer any other model with 404",
    )

    group = parser.add_argument_group("limits", "instead of the profile's; 'none' is no limit")
    for name, meaning in QUOTAS.items():
        group.add_argument(
            f"--{name}", type=_amount, default=argparse.SUPPRESS, metavar="N", help=meaning
        )
    group.add_argument(
        "--credit",
        type=_amount,
        metavar="TOKENS",
        help="refuse everything, as spent, after so many tokens",
    )

    group = parser.add_argument_group("answers")
    add = group.add_argument
    add(
        "--output-tokens", type=float, default=120.0, metavar="N", help="mean length (default: 120)"
    )
    add(
        "--output-spread",
        type=float,
        default=0.5,
        metavar="S",
        help="standard deviation of the lengths' logarithm (default: 0.5)",
    )
    add("--tokens-per-event", type=int, default=4, metavar="N", help="in a stream (default: 4)")

    group = parser.add_argument_group("latency", "in seconds")
    add = group.add_argument
    add("--instant", action="store_true", help="answer at once")
    for name, meaning in (
        ("round_trip", "of the simulated network"),
        ("first_token", "until the first token"),
        ("per_prompt_token", "more until then, per token of the prompt that is not cached"),
        ("per_output_token", "per token of the answer"),
        ("jitter", "standard deviation of the logarithm of a factor on the rest"),
    ):
        default = getattr(model, name)
        add(
            f"--{name.replace('_', '-')}",
            type=float,
            default=default,
            metavar="S",
            help=f"{meaning} (default: {default:g})",
        )
    add(
        "--batch",
        type=int,
        metavar="N",
        help="calls worked on at a time; the others wait (vLLM: 256, else no limit)",
    )
    add("--cache-room", type=int, metavar="TOKENS", help="of the prefix cache (default: unlimited)")
    add("--keep-alive", type=float, metavar="S", help="between signs of life (DeepSeek: 5)")

    kinds = [f"{kind:<10}{meaning}" for kind, meaning in KINDS.items()]
    group = parser.add_argument_group("faults", "\n".join([*kinds, "or an HTTP status: 500, 529"]))
    add = group.add_argument
    add(
        "--fault",
        action="append",
        default=[],
        metavar="KIND[=RATE]",
        help="let that share of the calls go wrong; may be given again",
    )
    add(
        "--fault-seconds",
        type=float,
        default=30.0,
        metavar="S",
        help="how long it stalls or pauses (default: 30)",
    )

    group = parser.add_argument_group("quirks", "how the provider is not what it says")
    group.add_argument(
        "--quirk",
        action="append",
        default=[],
        metavar="NAME[=VALUE]",
        help=f"may be given again: {', '.join(asdict(Quirks()))}; docs/serve.md explains them",
    )
    return parser
