"""The page in a real browser, at the size of a screen and of a telephone."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from xtremeflow import Limit, TaskScheduler, report_first_token
from xtremeflow.web.dashboard import serve_dashboard

SIZES = {"screen": (1280, 1000), "telephone": (390, 844)}
MISSING = [name for name in ("chromium", "chromedriver") if shutil.which(name) is None]


def webdriver() -> Any:
    """Selenium, if it and the browser are there. The job `browser` sets the variable."""
    if "XTREMEFLOW_BROWSER" not in os.environ:
        if MISSING:
            pytest.skip(f"{' and '.join(MISSING)} missing")
        pytest.importorskip("selenium")
    assert not MISSING
    from selenium import webdriver

    return webdriver


class Job:
    """A scheduler at work in a thread, with its page."""

    def __init__(self, folder: Path) -> None:
        limits = [Limit("requests", 600, 60, capacity=20), Limit("tokens", 6e5, 60, capacity=1e4)]
        self.scheduler = TaskScheduler(12, limits=limits)
        self.member = TaskScheduler(
            1, limits=[Limit("requests", 1)], share=f"file:{folder / 'share'}"
        )
        self.learner = TaskScheduler(adapt=True)
        self.url = ""
        self._ready = threading.Event()
        self._stop: Callable[[], object] = lambda: None
        self._thread = threading.Thread(target=lambda: asyncio.run(self._main()))

    async def _main(self) -> None:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        self._stop = lambda: loop.call_soon_threadsafe(stop.set)

        async def call() -> None:
            await asyncio.sleep(0.1)
            report_first_token()
            await asyncio.sleep(0.2)
            details = {"cached_tokens": 500}
            self.scheduler.settle(
                {"prompt_tokens": 600, "completion_tokens": 100, "prompt_tokens_details": details}
            )
            self.scheduler._save(600, 450.0)  # as a client does that knows the provider

        async def feed() -> None:
            while True:
                await self.scheduler.start_task(call(), 1000, prefix="p", prefix_tokens=500)

        schedulers = {"first": self.scheduler, "second": self.member, "third": self.learner}
        async with serve_dashboard(schedulers) as page:
            self.url = page.url
            feeding = asyncio.create_task(feed())
            self._ready.set()
            await stop.wait()
            feeding.cancel()
            self.scheduler.resume()
            await self.scheduler.wait_pending()

    def __enter__(self) -> Job:
        self._thread.start()
        self._ready.wait()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        if self._thread.is_alive():
            self._stop()
            self._thread.join()


@contextlib.contextmanager
def opened(url: str, size: str, is_silent: bool = True) -> Iterator[Any]:
    """The page once it has drawn its charts. `is_silent`: its console has to stay empty."""
    driver = webdriver()
    width, height = SIZES[size]
    options = driver.ChromeOptions()
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage"):
        options.add_argument(argument)
    options.binary_location = shutil.which("chromium")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    browser = driver.Chrome(options, driver.ChromeService(shutil.which("chromedriver")))
    try:
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        browser.get(url)
        until(browser, "document.documentElement.dataset.drawn === 'yes'")
        yield browser
        said = browser.get_log("browser")
        assert [each["message"] for each in said if is_silent] == []
    finally:
        browser.quit()


def until(browser: Any, condition: str) -> None:
    from selenium.webdriver.support.ui import WebDriverWait

    WebDriverWait(browser, 30).until(lambda _: browser.execute_script(f"return {condition}"))


def click(browser: Any, element: str) -> None:
    browser.find_element("id", element).click()


@pytest.mark.parametrize("size", SIZES)
def test_the_page_shows_the_job_and_controls_it(size: str, tmp_path: Path) -> None:
    webdriver()
    with Job(tmp_path) as job, opened(job.url, size) as browser:
        charts = browser.execute_script(
            "return [...document.querySelectorAll('.plot')].map(plot => plot.id)"
        )
        assert charts == [
            "limit requests", "limit tokens", "held", "calls", "prefixes", "latency", "refused"
        ]  # fmt: skip
        # Every chart has lines, and none is wider than its card.
        until(browser, "[...document.querySelectorAll('.plot')].every("
              "plot => plot.querySelector('.scatterlayer path') !== null)")  # fmt: skip
        assert browser.execute_script(
            "return [...document.querySelectorAll('.plot')].every(plot => "
            "plot.querySelector('svg').getBoundingClientRect().width <= plot.clientWidth + 1)"
        )
        until(browser, "document.getElementById('latency').textContent.includes('to the first "
              "token')")  # fmt: skip
        note = "document.getElementById('prefixes').previousElementSibling.textContent"
        until(browser, f"{note}.startsWith('1 known; 100 % of calls found theirs; held for ')")
        assert browser.execute_script(f"return {note}").endswith("75 % of the input's price saved")
        width, _ = SIZES[size]
        assert browser.execute_script("return document.documentElement.scrollWidth") <= width
        until(browser, "document.getElementById('state').textContent.startsWith('held back by')")
        assert browser.execute_script("return document.getElementById('drain').hidden")

        click(browser, "pause")
        until(browser, "document.getElementById('state').textContent === 'paused'")
        assert job.scheduler.is_paused
        click(browser, "pause")
        until(browser, "document.getElementById('pause').textContent === 'Pause'")
        assert not job.scheduler.is_paused

        change(browser, "calls at a time", "3")
        until(browser, "document.getElementById('said').textContent === 'calls at a time: 3'")
        assert job.scheduler.max_concurrency == 3
        change(browser, "tokens per 60 s", "1.2M")
        until(browser, "document.getElementById('said').textContent.startsWith('tokens: 1.2e+06')")
        assert job.scheduler.limits[1] == Limit("tokens", 1.2e6, 60, capacity=2e4)
        change(browser, "tokens per 60 s", "many")
        until(browser, "document.getElementById('said').className === 'bad'")

        assert browser.execute_script("return document.getElementById('learn').hidden")
        assert browser.execute_script("return document.getElementById('share').hidden")
        change_list(browser, "scheduler", "second")
        until(browser, "document.querySelectorAll('.plot').length === 5")
        text = browser.find_element("id", "share").text
        assert text.startswith("Share file:")
        assert text.endswith(
            ": 1 member, 0 waiting, 0 of their calls in flight; own part of all that was used 0 %"
        )
        until(browser, "document.getElementById('state').textContent === 'no call waits'")

        change_list(browser, "scheduler", "third")
        until(browser, "!document.getElementById('learn').hidden")
        change(browser, "requests per 60 s", "300")
        until(browser, "document.getElementById('said').textContent === 'requests: 300 in 60 s'")
        assert job.learner.limits == (Limit("requests", 300, 60, capacity=0),)
        until(browser, "document.getElementById('limits').textContent.includes("
              "'set to at most 5/s')")  # fmt: skip
        click(browser, "learn")
        until(browser, "document.getElementById('said').textContent === "
              "'requests in 60 s: learned'")  # fmt: skip
        assert job.learner.limits == ()


def test_the_page_says_that_the_job_has_ended(tmp_path: Path) -> None:
    webdriver()
    with Job(tmp_path) as job, opened(job.url, "screen", is_silent=False) as browser:
        job.stop()
        until(browser, "document.getElementById('state').textContent === 'the job has ended'")
        assert browser.execute_script("return document.getElementById('pause').disabled")


def change_list(browser: Any, name: str, text: str) -> None:
    from selenium.webdriver.support.ui import Select

    Select(browser.find_element("id", name)).select_by_visible_text(text)


def change(browser: Any, what: str, value: str) -> None:
    change_list(browser, "what", what)
    field = browser.find_element("id", "value")
    field.clear()
    field.send_keys(value)
    browser.find_element("css selector", "#change button").click()
