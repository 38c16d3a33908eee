"""`xtremeflow run`: a file of requests through an LLM API, at its limits."""

from __future__ import annotations

import argparse
import asyncio
import importlib.util
import json
import logging
import shlex
import sys
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from xtremeflow import Limit
from xtremeflow.learning.estimates import Estimator
from xtremeflow.run import amounts, keys
from xtremeflow.run.budget import Budget
from xtremeflow.run.dry import Plan, plan
from xtremeflow.run.job import Job, same_file
from xtremeflow.run.keys import Key, KeyProblem
from xtremeflow.run.plot import PlotError, picture_path, plot
from xtremeflow.run.providers import ANY, PROVIDERS, UNITS, Provider
from xtremeflow.run.results import (
    Done,
    InputChanged,
    Results,
    ResultsError,
    errors_path,
    what_is_done,
)
from xtremeflow.run.runner import Policy
from xtremeflow.run.source import Source, SourceError
from xtremeflow.run.summary import INTERRUPTED, STOPPED, USAGE, Summary
from xtremeflow.run.tokenizer import TokenizerError, tokenizer
from xtremeflow.run.views import LogLines, choose
from xtremeflow.scheduler.base import Adapt

logger = logging.getLogger("xtremeflow.run")

_FEW_CALLS = 64  # at a time, where there is no limit
_MANY_CALLS = 1024  # where one is given or learned

EXAMPLES = """\
examples:
  xtremeflow run requests.jsonl -o results.jsonl --provider openai --rpm 5000 --tpm 2M
  xtremeflow run requests.jsonl -o results.jsonl --provider openai --dry-run
  zcat prompts.jsonl.gz | xtremeflow run - -o results.jsonl \\
      --base-url http://127.0.0.1:8000/v1 --concurrency 64

A line of the input is a request of OpenAI's Batch format
  {"custom_id": "a", "method": "POST", "url": "/v1/chat/completions", "body": {...}}
or only its body
  {"model": "gpt-5-mini", "messages": [{"role": "user", "content": "Hello"}]}

Stopped by Ctrl-C, a budget, a crash or a power failure, the same command goes on where it was.
What fails is in results.errors.jsonl, and is tried again by the next run.

exit status: 0 all done, 1 some failed, 2 bad usage, 3 stopped before the end, 130 Ctrl-C
"""


ADAPT: Mapping[str, Adapt] = {"yes": True, "bounded": "bounded", "no": False}


class Usage(Exception):
    """What was asked for cannot be done; says why."""


def main(arguments: Sequence[str] | None = None) -> int:
    parser = _parser()
    options = parser.parse_args(arguments)
    given = sys.argv[1:] if arguments is None else ["run", *arguments]
    _log_to_stderr(verbose=options.verbose, quiet=options.quiet)
    key: list[Key] = []
    try:
        return _main(options, shlex.join(["xtremeflow", *given]), key)
    except (InputChanged, KeyProblem, ResultsError, SourceError, TokenizerError, Usage) as error:
        print(f"xtremeflow run: {error}", file=sys.stderr)
        return USAGE
    except KeyboardInterrupt:
        return INTERRUPTED
    except Exception:
        text = traceback.format_exc().encode("utf-8", "replace")
        for each in key:
            text = each.hidden(text)
        print(text.decode(), file=sys.stderr, end="")
        return STOPPED


def _main(options: argparse.Namespace, command: str, found: list[Key]) -> int:
    provider = _provider(options)
    base_url: str | None = options.base_url or provider.base_url
    if base_url is None:
        raise Usage("tell where to send the requests, by --provider or --base-url (see --help)")
    base_url = keys.check_base_url(base_url, insecure=options.insecure)
    if options.plot is not None and importlib.util.find_spec("matplotlib") is None:
        raise Usage("--plot needs matplotlib: pip install 'xtremeflow[plot]'")
    limits, adapt, concurrency = _limits(options, provider)
    estimator = Estimator()
    if options.tokenizer is not None:
        estimator = Estimator(tokenizer(options.tokenizer), per_token=1.0)
    if not options.output.name:
        raise Usage(f"--output must name a file, got {str(options.output)!r}")
    source = Source(options.input)
    if own := same_file(source, options.output, errors_path(options.output)):
        raise Usage(f"{own} is the input: choose another output")

    if options.dry_run:
        return _dry_run(
            options, source, provider, estimator, limits or _of(provider, _assumed(provider), None)
        )
    key = keys.find_key(
        options.key_env or provider.key_variable,
        options.key_file,
        required=options.key_env is not None or not keys.is_loopback(base_url),
    )
    headers = dict(provider.headers)
    if key is not None:
        found.append(key)
        name, form = provider.key_header
        headers[name] = form.format(key.reveal())
    if options.strict:
        _check_all(options, provider)

    try:
        from xtremeflow.run.http import HTTPTransport
    except ImportError as error:  # there is no libcurl
        raise Usage(str(error)) from None

    results = Results(options.output, skip_failed=options.skip_failed)
    try:
        job = Job(
            source=source,
            results=results,
            provider=provider,
            limits=limits,
            target=base_url,
            adapt=adapt,
            concurrency=concurrency,
            estimator=estimator,
            policy=Policy(
                retries=options.retries,
                max_wait=options.max_wait,
                patience=options.patience,
                keep_going=options.keep_going,
            ),
            budget=Budget(options.max_requests, options.max_tokens),
            deadline=options.deadline,
            key=key,
            command=command,
        )
        logger.info("%s", _greeting(job, base_url))
        view = choose(
            quiet=options.quiet,
            plain=options.plain,
            title=f"xtremeflow run {source.name} -o {options.output}",
        )
        if isinstance(view, LogLines):  # the live view tells by itself what becomes of the limits
            logging.getLogger("xtremeflow.learning").setLevel(logging.INFO)

        async def run() -> Summary:
            transport = HTTPTransport(
                base_url,
                headers,
                timeout=options.timeout,
                connections=concurrency,
                prefix=provider.prefix,
            )
            return await job.run(transport, view)

        _allow_files(concurrency + 64)
        summary = asyncio.run(run())
    finally:
        results.close()
    if options.plot is not None:
        try:
            plot(options.output, options.plot)
            logger.info("picture: %s", options.plot)
        except PlotError as error:  # the run itself is none the worse for it
            logger.error("no picture: %s", error)
    if options.json:
        try:
            print(json.dumps(summary.as_json(), indent=2), flush=True)
        except OSError as error:  # the results are none the worse for it
            logger.error("the summary cannot be written: %s", error.strerror)
            sys.stdout = None  # or the interpreter tries again as it ends
    elif not options.quiet or summary.exit_status:
        print(summary.as_text(), file=sys.stderr)
    return summary.exit_status


def _provider(options: argparse.Namespace) -> Provider:
    provider = PROVIDERS[options.provider] if options.provider else ANY
    if options.endpoint is not None:
        if not options.endpoint.startswith("/"):
            raise Usage(f"--endpoint must be a path that begins with /, got {options.endpoint!r}")
        provider = replace(provider, paths={"": options.endpoint})
    return provider


def _limits(options: argparse.Namespace, provider: Provider) -> tuple[list[Limit], Adapt, int]:
    """The limits that were given; what may become of them; and how many calls at a time.

    The preset's are taken only where nothing can be learned, and as a guess where answers tell of
    no limits before they refuse.
    """
    rates: dict[str, float | None] = {n: vars(options)[n] for n in UNITS if n in options}
    adapt = ADAPT[options.adapt]
    if not adapt:
        rates = {**_assumed(provider), **rates}
    elif not (rates or provider.tells):
        rates, adapt = dict(_assumed(provider)), True
    limits = _of(provider, rates, options.burst)
    concurrency = options.concurrency or provider.amounts.get("concurrency")
    if concurrency is None:
        concurrency = _MANY_CALLS if limits or adapt else _FEW_CALLS
    return limits, adapt, concurrency


def _assumed(provider: Provider) -> dict[str, float | None]:
    """The amounts per minute of the preset."""
    return {name: amount for name, amount in provider.amounts.items() if name in UNITS}


def _of(provider: Provider, rates: Mapping[str, float | None], burst: float | None) -> list[Limit]:
    return provider.limits({n: rate for n, rate in rates.items() if rate is not None}, burst)


def _dry_run(
    options: argparse.Namespace,
    source: Source,
    provider: Provider,
    estimator: Estimator,
    limits: Sequence[Limit],
) -> int:
    done = what_is_done(options.output)
    found = asyncio.run(plan(source.batches(), done, provider, estimator))
    print(json.dumps(found.as_json(limits), indent=2) if options.json else found.as_text(limits))
    return USAGE if options.strict and found.bad else 0


def _check_all(options: argparse.Namespace, provider: Provider) -> None:
    """--strict: reads everything before the first call."""
    source = Source(options.input)
    if not source.repeatable:
        raise Usage(f"--strict must read its input twice, which {source.name} cannot be")
    found: Plan = asyncio.run(plan(source.batches(), Done(), provider, Estimator(lambda text: 1)))
    if found.bad:
        lines = "".join(f"\n  line {bad.line} {bad.reason}" for bad in found.examples)
        raise Usage(f"{source.name} has {amounts.counted(found.bad, 'bad line')}, such as:{lines}")


def _greeting(job: Job, base_url: str) -> str:
    limits = [
        f"{amounts.shown(limit.amount)} {limit.name.replace('_', ' ')}/min" for limit in job.limits
    ]
    if job.adapt is True and limits:
        limits[0] = f"at first {limits[0]}"
    elif job.adapt and not limits:
        limits.append("limits are learned from the answers")
    limits.append(f"up to {job.concurrency:,} calls at a time")
    done = f"; {job.results.done.count:,} lines are done already" if job.results.done.count else ""
    return f"{job.provider.title} at {base_url}: {', '.join(limits)}{done}"


def _allow_files(wanted: int) -> None:
    """Raises the limit of open files, as far as it may be."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        allowed = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))


class _Stderr(logging.Handler):
    """Writes to what sys.stderr is at the time: the live view puts itself there."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            print(self.format(record), file=sys.stderr, flush=True)
        except Exception:
            self.handleError(record)


def _log_to_stderr(*, verbose: bool, quiet: bool) -> None:
    handler = _Stderr()
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%H:%M:%S"))
    root = logging.getLogger("xtremeflow")
    root.handlers = [handler]
    root.propagate = False
    root.setLevel(logging.INFO if verbose else logging.ERROR)  # of each refused call: a flood
    logger.setLevel(logging.WARNING if quiet else logging.INFO)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="xtremeflow run",
        description="Sends every line of a JSONL file to an LLM API, as fast as its limits\n"
        "allow and no faster, and loses nothing.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("input", help="file of requests (.jsonl; also gzip or zstd), or - for standard input")
    add("-o", "--output", type=Path, required=True, metavar="FILE", help="file of results; what "
        "is in there is not sent again")  # fmt: skip
    add("--dry-run", action="store_true", help="say what would be sent, what it would cost, and "
        "how long it would take at the shortest; send nothing")  # fmt: skip
    add("--strict", action="store_true", help="send nothing if the input has a bad line")
    add("--skip-failed", action="store_true", help="do not try again what failed in earlier runs")

    group = parser.add_argument_group("where to")
    add = group.add_argument
    add("--provider", choices=PROVIDERS, metavar="NAME", help=f"preset: {', '.join(PROVIDERS)}")
    add("--base-url", metavar="URL", help="another address than the preset's, such as "
        "https://example.openai.azure.com/openai/v1")  # fmt: skip
    add("--insecure", action="store_true", help="allow http to hosts other than this one")
    add("--endpoint", metavar="PATH", help="path for lines that are only a body "
        "(default: by what is in them)")  # fmt: skip
    add("--key-env", metavar="NAME", help="environment variable that holds the API key "
        "(default: the provider's usual one, such as OPENAI_API_KEY)")  # fmt: skip
    add("--key-file", type=Path, metavar="FILE", help="file that holds the API key")

    group = parser.add_argument_group(
        "limits", "as on your provider's limits page, if you know them: what the answers tell "
        "is\nfollowed, and what is not given is learned"
    )  # fmt: skip
    add = group.add_argument
    for name, unit in UNITS.items():
        words = unit.replace("_", " ")
        add(f"--{name}", type=amounts.limit, default=argparse.SUPPRESS, metavar="N",
            help=f"{words} per minute, such as 5000, 800k or 2M; none for no limit")  # fmt: skip
    add("--adapt", choices=tuple(ADAPT), default="bounded", help="what the answers may change: "
        "with bounded, limits that are given are upper bounds (the default); with yes, they are "
        "only a first guess; with no, nothing is learned, and the preset's limits stand for what "
        "is not given")  # fmt: skip
    add("--concurrency", type=amounts.whole, metavar="N", help=f"calls at a time, at the most "
        f"(default: the preset's; else {_MANY_CALLS}, but {_FEW_CALLS} where no limit is given or "
        "learned)")  # fmt: skip
    add("--burst", type=amounts.seconds, metavar="SECONDS", help="how many seconds of the rates "
        "may be used at once (default: the preset's; else 0)")  # fmt: skip
    add("--tokenizer", metavar="NAME", help="count tokens with tiktoken's encoding or model of "
        "that name, or with a tokenizer.json (default: by characters, learning from the "
        "answers)")  # fmt: skip

    group = parser.add_argument_group("budgets", "end dispatching; calls in flight still finish")
    add = group.add_argument
    add("--max-requests", type=amounts.whole, metavar="N", help="calls of this run")
    add("--max-tokens", type=amounts.whole, metavar="N", help="tokens of this run, in and out")
    add("--deadline", type=amounts.deadline, metavar="TIME", help="such as 45m, 2h30m or "
        "2031-05-01T06:00")  # fmt: skip

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
        help="stop if there was no answer for so long, or no room to write one "
        f"(default: {policy.patience:g})")  # fmt: skip
    add("--keep-going", action="store_true", help="do not stop for failures that every call would "
        "share, such as a wrong key")  # fmt: skip

    group = parser.add_argument_group("what to see")
    add = group.add_argument
    add(
        "--plot",
        type=picture_path,
        metavar="FILE",
        help="draw the run into a .png or .svg at its end",
    )
    add("--json", action="store_true", help="print the summary as JSON, on standard output")
    add("--plain", action="store_true", help="log lines instead of the live view")
    add("-q", "--quiet", action="store_true", help="nothing but problems")
    add("-v", "--verbose", action="store_true", help="also each refused call")
    return parser
