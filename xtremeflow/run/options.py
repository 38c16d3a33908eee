"""The options of `xtremeflow run`, and the provider and limits that they result in."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from xtremeflow.cli import amounts
from xtremeflow.cli.address import address
from xtremeflow.cli.parser import Parser
from xtremeflow.learning.belief import Adapt
from xtremeflow.providers import PROVIDERS, Provider
from xtremeflow.providers.provider import ANY, PER_MINUTE
from xtremeflow.run.job.policy import Policy
from xtremeflow.run.views.plot import picture_path
from xtremeflow.values.limits import Limit

_FEW_CALLS = 64  # at a time, where there is no limit
_MANY_CALLS = 1024  # where one is given or learned
ADAPT: Mapping[str, Adapt] = {"yes": True, "bounded": "bounded", "no": False}

EXAMPLES = """\
examples:
  xtremeflow run requests.jsonl -o results.jsonl --provider openai --rpm 5000 --tpm 2M
  xtremeflow run requests.jsonl -o results.jsonl --provider openai --dry-run
  zcat prompts.jsonl.gz | xtremeflow run - -o results.jsonl \\
      --base-url http://127.0.0.1:8000/v1 --concurrency 64

A line of the input is a request of OpenAI's Batch format
  {"custom_id": "a", "method": "POST", "url": "/v1/chat/completions", "body": {...}}
or of Anthropic's
  {"custom_id": "b", "params": {...}}
or only its body
  {"model": "gpt-5-mini", "messages": [{"role": "user", "content": "Hello"}]}

Stopped by Ctrl-C, a budget, a crash or a power failure, the same command goes on where it was.
Failed lines are in results.errors.jsonl, and the next run tries them again.

exit status: 0 all done, 1 some failed, 2 bad usage, 3 stopped before the end, 130 Ctrl-C
"""


class Misuse(Exception):
    """The options cannot be carried out. The message says why."""


def provider_of(options: argparse.Namespace) -> Provider:
    provider = PROVIDERS[options.provider] if options.provider else ANY
    if options.endpoint is not None:
        if not options.endpoint.startswith("/"):
            raise Misuse(f"--endpoint must be a path that begins with /, got {options.endpoint!r}")
        provider = replace(provider, paths={"": options.endpoint})
    return provider


def limits_of(options: argparse.Namespace, provider: Provider) -> tuple[list[Limit], Adapt, int]:
    """Returns the limits, how answers may change them, and the calls at a time.

    The preset's limits are used where nothing is learned, and as a guess where answers tell of no
    limits before they refuse.
    """
    rates: dict[str, float | None] = {n: vars(options)[n] for n in PER_MINUTE if n in options}
    adapt = ADAPT[options.adapt]
    if not adapt:
        rates = {**assumed(provider), **rates}
    elif not (rates or provider.tells):
        rates, adapt = dict(assumed(provider)), True
    limits = limits_for(provider, rates, options.burst)
    concurrency = options.concurrency or provider.concurrency
    if concurrency is None:
        concurrency = _MANY_CALLS if limits or adapt else _FEW_CALLS
    return limits, adapt, concurrency


def assumed(provider: Provider) -> dict[str, float | None]:
    """Returns the amounts per minute of the preset."""
    return dict(provider.amounts)


def limits_for(
    provider: Provider, rates: Mapping[str, float | None], burst: float | None
) -> list[Limit]:
    return provider.limits({n: rate for n, rate in rates.items() if rate is not None}, burst)


def parser() -> Parser:
    parser = Parser(
        prog="xtremeflow run",
        description="Sends every line of a JSONL file to an LLM API, as fast as its limits\n"
        "allow and no faster, and loses nothing.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    _files(parser)
    _where_to(parser)
    _limits(parser)
    _budgets(parser)
    _failures(parser)
    _views(parser)
    return parser


def _files(parser: Parser) -> None:
    add = parser.add_argument
    add("input", help="file of requests (.jsonl; also gzip or zstd), or - for standard input")
    add("-o", "--output", type=Path, required=True, metavar="FILE", help="file of results; lines "
        "whose results are there are not sent again")  # fmt: skip
    add("--dry-run", action="store_true", help="send nothing; print the number of requests, their "
        "cost, and the shortest time that the limits allow")  # fmt: skip
    add("--strict", action="store_true", help="send nothing if the input has a bad line")
    add("--skip-failed", action="store_true", help="do not retry lines that failed in earlier runs")


def _where_to(parser: Parser) -> None:
    group = parser.add_argument_group("where to")
    add = group.add_argument
    add("--provider", choices=PROVIDERS, metavar="NAME", help=f"preset: {', '.join(PROVIDERS)}")
    add("--base-url", metavar="URL", help="an address other than the preset's, such as "
        "https://example.openai.azure.com/openai/v1")  # fmt: skip
    add("--insecure", action="store_true", help="allow http to hosts other than this one")
    add("--endpoint", metavar="PATH", help="path for lines that are only a body "
        "(default: by the keys of the body)")  # fmt: skip
    add("--key-env", metavar="NAME", help="environment variable that holds the API key "
        "(default: the provider's usual one, such as OPENAI_API_KEY)")  # fmt: skip
    add("--key-file", type=Path, metavar="FILE", help="file that holds the API key")


def _limits(parser: Parser) -> None:
    group = parser.add_argument_group(
        "limits", "as on your provider's limits page, if you know them; limits that are not given\n"
        "are learned from the answers"
    )  # fmt: skip
    add = group.add_argument
    for name, unit in PER_MINUTE.items():
        words = unit.replace("_", " ")
        add(f"--{name}", type=amounts.limit, default=argparse.SUPPRESS, metavar="N",
            help=f"{words} per minute, such as 5000, 800k or 2M; none for no limit")  # fmt: skip
    add("--adapt", choices=tuple(ADAPT), default="bounded", help="how answers may change the "
        "limits. bounded (the default): given limits are upper bounds; yes: they are a first "
        "guess; no: nothing is learned, the preset's limits stand for those not given")  # fmt: skip
    add("--share", metavar="SHARE", help="keep these limits together with all other processes "
        "that name the same share, and learn together: of this machine, such as shm:openai or "
        "file:/var/run/openai, or of several, such as redis://HOST/0#openai or "
        "ray:openai")  # fmt: skip
    add("--concurrency", type=amounts.whole, metavar="N", help=f"calls at a time, at most "
        f"(default: the preset's; else {_MANY_CALLS}, but {_FEW_CALLS} where no limit is given or "
        "learned)")  # fmt: skip
    add("--burst", type=amounts.seconds, metavar="SECONDS", help="seconds of the rates that may "
        "be used at once (default: the preset's; else 0)")  # fmt: skip
    add("--prefix", choices=("auto", "off"), default="auto", help="auto (the default): of calls "
        "whose prompts begin alike, one goes ahead until the provider's cache has that "
        "beginning")  # fmt: skip
    add("--tokenizer", metavar="NAME", help="count tokens with tiktoken's encoding or model of "
        "that name, or with a tokenizer.json (default: by characters, learning from the "
        "answers)")  # fmt: skip


def _budgets(parser: Parser) -> None:
    group = parser.add_argument_group("budgets", "end dispatching; calls in flight still finish")
    add = group.add_argument
    add("--max-requests", type=amounts.whole, metavar="N", help="calls that this run may make")
    add("--max-tokens", type=amounts.whole, metavar="N", help="tokens that this run may use, in "
        "and out")  # fmt: skip
    add("--deadline", type=amounts.deadline, metavar="TIME", help="a duration or a moment, such as "
        "45m, 2h30m or 2031-05-01T06:00")  # fmt: skip


def _failures(parser: Parser) -> None:
    group = parser.add_argument_group("when calls fail")
    add = group.add_argument
    policy = Policy()
    add("--timeout", type=amounts.some_seconds, default=600.0, metavar="SECONDS",
        help="of one attempt (default: 600)")  # fmt: skip
    add("--retries", type=amounts.count, default=policy.retries, metavar="N", help="further tries "
        f"after errors of the server or the network (default: {policy.retries})")  # fmt: skip
    add("--max-wait", type=amounts.seconds, default=policy.max_wait, metavar="SECONDS",
        help="stop if the provider asks for a longer wait "
        f"(default: {policy.max_wait:g})")  # fmt: skip
    add("--patience", type=amounts.seconds, default=policy.patience, metavar="SECONDS",
        help="stop if no call passes for so long, or an answer cannot be written "
        f"(default: {policy.patience:g})")  # fmt: skip
    add("--keep-going", action="store_true", help="do not stop for failures that every call would "
        "share, such as a wrong key")  # fmt: skip


def _views(parser: Parser) -> None:
    group = parser.add_argument_group("what to see")
    add = group.add_argument
    add(
        "--plot",
        type=picture_path,
        metavar="FILE",
        help="draw the run into a .png or .svg at its end",
    )
    add("--metrics", type=address, metavar="[HOST:]PORT", help="serve Prometheus metrics there "
        "while it runs (host: by default only this one; port 0: any free one)")  # fmt: skip
    add(
        "--web",
        type=address,
        metavar="[HOST:]PORT",
        help="serve a page there that shows and "
        "controls the run (host: by default only this one; others need the token in its address)",
    )
    add("--web-token", metavar="TOKEN", help="the page's token (default: a random one, and none on "
        "this machine)")  # fmt: skip
    add("--input-price", type=amounts.amount, metavar="DOLLARS", help="price of a million tokens "
        "of input: what prefixes save is shown in dollars, too")  # fmt: skip
    add("--json", action="store_true", help="print the summary as JSON, on standard output")
    add("--log", choices=("text", "json"), default="text", help="form of the log lines; json: one "
        "object a line, instead of the live view (default: text)")  # fmt: skip
    add("--plain", action="store_true", help="log lines instead of the live view")
    add("-q", "--quiet", action="store_true", help="show only problems")
    add("-v", "--verbose", action="store_true", help="show each refused call too")
