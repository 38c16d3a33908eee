"""`xtremeflow run`: a file of requests through an LLM API, at its limits."""

from __future__ import annotations

import argparse
import asyncio
import importlib.util
import json
import logging
import os
import shlex
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from xtremeflow.cli import amounts
from xtremeflow.cli.commands import INTERRUPTED
from xtremeflow.cli.parser import USAGE
from xtremeflow.learning.belief import Adapt
from xtremeflow.learning.costs.estimates import Estimator
from xtremeflow.providers import Provider
from xtremeflow.run.input import keys
from xtremeflow.run.input.keys import Key, KeyProblem
from xtremeflow.run.input.requests import fingerprint
from xtremeflow.run.input.source import Source, SourceError
from xtremeflow.run.input.tokenizer import TokenizerError, tokenizer
from xtremeflow.run.job.budget import Budget
from xtremeflow.run.job.dry import Plan, plan
from xtremeflow.run.job.job import Job
from xtremeflow.run.job.oversize import rooms
from xtremeflow.run.job.policy import Policy
from xtremeflow.run.job.services import RunService, ServiceError, metrics, web
from xtremeflow.run.options import Misuse, assumed, limits_for, limits_of, provider_of
from xtremeflow.run.options import parser as _parser
from xtremeflow.run.output.history import history_path
from xtremeflow.run.output.results import Done, InputChanged, Results, ResultsError, errors_path
from xtremeflow.run.views.plot import PlotError, plot
from xtremeflow.run.views.summary import STOPPED, Summary
from xtremeflow.run.views.view import LogLines, View, choose
from xtremeflow.run.views.voice import Voice
from xtremeflow.run.wire.http import HTTPTransport
from xtremeflow.run.wire.transport import Transport
from xtremeflow.scheduler import TaskScheduler
from xtremeflow.share.elsewhere import kept_share
from xtremeflow.share.place import ShareError, path_of
from xtremeflow.values.amounts import shown
from xtremeflow.values.limits import Limit
from xtremeflow.values.text import printable
from xtremeflow.web.control import MOST_CALLS
from xtremeflow.web.server import PageError, charts

logger = logging.getLogger("xtremeflow.run")


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    given = sys.argv[1:] if arguments is None else ["run", *arguments]
    voice = Voice(as_json=options.log == "json")
    with voice.logging(verbose=options.verbose, quiet=options.quiet):
        return _main(options, voice, shlex.join(["xtremeflow", *given]))


def _main(options: argparse.Namespace, voice: Voice, command: str) -> int:
    try:
        order = Order.of(options)
        if options.dry_run:
            return _dry_run(order, voice)
        return _Command(order, voice, command).to_its_end()
    except (
        InputChanged,
        KeyProblem,
        ResultsError,
        ServiceError,
        ShareError,
        SourceError,
        TokenizerError,
        Misuse,
    ) as error:
        voice.say(f"xtremeflow run: {error}")
        return USAGE
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        raise  # handled by xtremeflow.cli
    except Exception:
        voice.say(traceback.format_exc().rstrip())
        return STOPPED


@dataclass(frozen=True)
class Order:
    """The checked options, as far as they can be checked without looking at the output.

    limits, adapt, concurrency  see `limits_of`
    """

    options: argparse.Namespace
    provider: Provider
    base_url: str
    limits: list[Limit]
    adapt: Adapt
    concurrency: int
    estimator: Estimator
    source: Source

    @classmethod
    def of(cls, options: argparse.Namespace) -> Order:
        """Checks the options. Raises Misuse and the errors of its parts. Reads only the
        tokenizer."""
        provider = provider_of(options)
        base_url: str | None = options.base_url or provider.base_url
        if base_url is None and options.provider:
            raise Misuse(
                f"--provider {provider.name} needs --base-url, as each account has its own address:"
                " https://NAME.openai.azure.com/openai/v1"
            )
        if base_url is None:
            raise Misuse(
                "tell where to send the requests, by --provider or --base-url "
                "(see xtremeflow run --help)"
            )
        base_url = keys.check_base_url(base_url, insecure=options.insecure)
        if options.plot is not None:
            if importlib.util.find_spec("matplotlib") is None:
                raise Misuse("--plot needs matplotlib: pip install 'xtremeflow[plot]'")
            if not os.access(options.plot.parent, os.W_OK):
                raise Misuse(f"--plot {options.plot}: no file can be written there")
        if options.metrics is not None and importlib.util.find_spec("prometheus_client") is None:
            raise Misuse("--metrics needs prometheus_client: pip install 'xtremeflow[metrics]'")
        if options.web is not None:
            try:
                charts()
            except PageError as error:
                raise Misuse(f"--web: {error}") from None
        limits, adapt, concurrency = limits_of(options, provider)
        estimator = Estimator()
        if options.tokenizer is not None:
            estimator = Estimator(tokenizer(options.tokenizer), per_token=1.0)
        if options.output.name in ("", "-"):
            raise Misuse(
                f"--output must name a file, got {str(options.output)!r}: the next run reads there "
                "what is done"
            )
        if concurrency > MOST_CALLS:
            raise Misuse(f"--concurrency must be at most {MOST_CALLS:,}, got {concurrency:,}")
        try:
            TaskScheduler(concurrency, limits=limits)
        except ValueError as error:
            raise Misuse(f"no scheduler can keep these limits: {error}") from None
        if options.share is not None:
            try:
                kept = kept_share(options.share)
                if kept is None:
                    path_of(options.share)
                else:
                    kept.attach()
            except (ValueError, ShareError, OSError) as error:
                raise Misuse(f"--share: {error}") from None
        source = Source(options.input)
        order = cls(options, provider, base_url, limits, adapt, concurrency, estimator, source)
        order._check_files()
        return order

    def _check_files(self) -> None:
        """Checks that no written file is also read, or written for another purpose. Raises
        Misuse."""
        output: Path = self.options.output
        written = {
            "output": output,
            "file of errors": errors_path(output),
            "file of runs": history_path(output),
        }
        if self.options.plot is not None:
            written["picture"] = self.options.plot
        names: dict[str, str] = {}
        for what, path in written.items():
            # Of os.path, which takes any path for none rather than raise an error for it.
            if os.path.exists(path) and self.source.is_same(path.stat()):
                raise Misuse(f"{path} is the input: choose another output")
            real = os.path.realpath(path)
            other = names.setdefault(real, what)
            if other != what:
                raise Misuse(f"{path} would be the {other} and the {what}: choose another name")
            key_file: Path | None = self.options.key_file
            if key_file is not None and real == os.path.realpath(key_file):
                raise Misuse(f"{path} is the key's file: choose another output")

    def find_key(self) -> Key | None:
        options = self.options
        return keys.find_key(
            options.key_env or self.provider.key_variable,
            options.key_file,
            required=options.key_env is not None or not keys.is_loopback(self.base_url),
        )

    def headers(self, key: Key | None) -> Mapping[str, str]:
        headers = dict(self.provider.headers)
        if key is not None:
            name, form = self.provider.key_header
            headers[name] = form.format(key.reveal())
        return headers


def _dry_run(order: Order, voice: Voice) -> int:
    options, provider = order.options, order.provider
    limits, presets = order.limits, False
    if not limits:
        limits, presets = limits_for(provider, assumed(provider), None), True
    results = Results(options.output, skip_failed=options.skip_failed)
    try:
        largest = {} if presets else rooms(
            TaskScheduler(limits=limits).stats().limits, bounded=order.adapt is not True
        )  # fmt: skip
        found = asyncio.run(
            plan(
                order.source.batches(),
                results.done,
                provider,
                order.estimator,
                largest,
                prefixes=options.prefix == "auto",
            )
        )
    finally:
        results.close()
    if options.json:
        print(json.dumps(found.as_json(limits, presets=presets), indent=2))
    else:
        print(voice.clean(found.as_text(limits, presets=presets)))
    return USAGE if options.strict and found.bad else 0


class _Command:
    """One run: `start` makes its job and its view, `watch` waits for its end, `finish` tells it."""

    def __init__(self, order: Order, voice: Voice, command: str) -> None:
        self._order = order
        self._voice = voice
        self._command = command

    def to_its_end(self) -> int:
        """Returns the exit status."""
        order, options = self._order, self._order.options
        self._voice.key = key = order.find_key()
        if options.strict:
            _check_all(order)
        connect = partial(
            HTTPTransport,
            order.base_url,
            order.headers(key),
            timeout=options.timeout,
            connections=order.concurrency,
            prefix=order.provider.prefix,
        )
        results = Results(options.output, skip_failed=options.skip_failed)
        try:
            job, view = self._start(results, key)
            summary = asyncio.run(self._watch(job, view, connect))
        finally:
            results.close()
        return self._finish(summary)

    def _start(self, results: Results, key: Key | None) -> tuple[Job, View]:
        order, options = self._order, self._order.options
        if order.source.repeatable:
            asyncio.run(_check_unchanged(Source(options.input), results.done))
        job = Job(
            source=order.source,
            results=results,
            provider=order.provider,
            limits=order.limits,
            target=order.base_url,
            adapt=order.adapt,
            concurrency=order.concurrency,
            share=options.share,
            estimator=order.estimator,
            policy=Policy(
                retries=options.retries,
                max_wait=options.max_wait,
                patience=options.patience,
                keep_going=options.keep_going,
            ),
            budget=Budget(options.max_requests, options.max_tokens),
            deadline=options.deadline,
            key=key,
            command=self._command,
            services=self._services(),
            prefixes=options.prefix == "auto",
            input_price=options.input_price,
        )
        view = choose(
            quiet=options.quiet,
            plain=options.plain or options.log == "json",
            title=f"xtremeflow run {order.source.name} -o {options.output}",
        )
        if isinstance(view, LogLines):  # the live view shows changes of limits by itself
            logging.getLogger("xtremeflow.learning").setLevel(logging.INFO)
        greeting = {"event": "start", "input": order.source.name, "output": str(options.output)}
        logger.info("%s", _greeting(job, order.base_url), extra={"xtremeflow": greeting})
        # A page may raise the concurrency.
        _allow_files((order.concurrency if options.web is None else MOST_CALLS) + 64)
        return job, view

    def _services(self) -> list[RunService]:
        options = self._order.options
        offered: list[RunService] = []
        if options.metrics is not None:
            offered.append(metrics(options.metrics))
        if options.web is not None:
            offered.append(web(options.web, options.web_token, self._order.source.name))
        return offered

    async def _watch(self, job: Job, view: View, connect: Callable[[], Transport]) -> Summary:
        return await job.run(connect(), view)  # which needs the loop

    def _finish(self, summary: Summary) -> int:
        options = self._order.options
        if options.plot is not None:
            _plot(options.output, options.plot)
        _tell(summary, options, self._voice)
        return summary.exit_status


def _plot(results: Path, picture: Path) -> None:
    try:
        plot(results, picture)
        logger.info("picture: %s", picture)
    except PlotError as error:  # the run itself has succeeded
        logger.error("no picture: %s", error)


def _tell(summary: Summary, options: argparse.Namespace, voice: Voice) -> None:
    if options.json:
        try:
            text = voice.without_key(json.dumps(summary.as_json(), indent=2))
            print(text, flush=True)
        except OSError as error:  # the results are written
            if not isinstance(error, BrokenPipeError):  # its reader has closed the pipe
                logger.error("the summary cannot be written: %s", error.strerror)
            sys.stdout = None  # or the interpreter flushes it again at exit
    elif voice.as_json:
        ended = {"event": "end", **summary.as_json()}
        logger.info("%s", summary.outcome, extra={"xtremeflow": ended})
    elif not options.quiet or summary.exit_status:
        voice.say(summary.as_text())


def _check_all(order: Order) -> None:
    """Reads everything before the first call, for --strict. Raises Misuse if a line is bad."""
    source = Source(order.options.input)
    if not source.repeatable:
        raise Misuse(f"--strict must read its input twice, which {source.name} cannot be")
    found: Plan = asyncio.run(
        plan(source.batches(), Done(), order.provider, Estimator(lambda text: 1), {})
    )
    if found.bad:
        lines = "".join(f"\n  line {bad.line} {printable(bad.reason)}" for bad in found.examples)
        raise Misuse(f"{source.name} has {amounts.counted(found.bad, 'bad line')}, such as:{lines}")


async def _check_unchanged(source: Source, done: Done) -> None:
    """Checks that the done lines are where they were, before anything is sent or written.

    Raises InputChanged and SourceError.
    """
    number = 0
    async with aclosing(source.batches()) as batches:
        async for lines in batches:
            for line in lines:
                number += 1
                if done.get(number):
                    done.check(number, fingerprint(line.strip()))
            if number >= done.last:
                return
    done.check_end(number)


def _greeting(job: Job, base_url: str) -> str:
    limits = [f"{shown(limit.amount)} {limit.name.replace('_', ' ')}/min" for limit in job.limits]
    if job.adapt is True and limits:
        limits[0] = f"at first {limits[0]}"
    elif job.adapt and not limits:
        limits.append("limits are learned from the answers")
    limits.append(f"up to {job.concurrency:,} calls at a time")
    done = f"; {job.results.done.count:,} lines are done already" if job.results.done.count else ""
    return f"{job.provider.title} at {base_url}: {', '.join(limits)}{done}"


def _allow_files(wanted: int) -> None:
    """Raises the limit of open files to `wanted`, as far as the system allows."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        allowed = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
