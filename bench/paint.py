"""The wait for the dashboard: until a browser first paints the page, and until it draws the charts.

Debian's chromium, without a window, opens the page of a scheduler at work on loopback. Each round
is a browser of its own, with an empty cache. "first paint" is the browser's own figure (first
contentful paint); "charts" is when all of them are drawn, plotly's library included. Both are in
ms, from the request of the page on. The least of the rounds is what the page itself needs; the
middle has what else the machine does. `./dev check browser` installs the browser.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib.util
import shutil
import sys
from collections.abc import Sequence
from statistics import median
from typing import Any

from bench.report import announce, table
from xtremeflow import Limit, TaskScheduler

SIZES = {"screen": (1280, 1000), "telephone": (390, 844)}
TARGET = 500.0  # ms
PROGRAMS = ("chromium", "chromedriver")
DRAWN = "return document.documentElement.dataset.drawn === 'yes' && performance.now()"
PAINTED = "return performance.getEntriesByName('first-contentful-paint')[0].startTime"


def seen(url: str, width: int, height: int) -> tuple[float, float]:
    """Opens the page in a new browser. Returns when it was painted, and when it was drawn."""
    driver: Any = importlib.import_module("selenium.webdriver")
    waits: Any = importlib.import_module("selenium.webdriver.support.ui")
    options = driver.ChromeOptions()
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage"):
        options.add_argument(argument)
    browser_path, driver_path = map(shutil.which, PROGRAMS)
    options.binary_location = browser_path
    browser = driver.Chrome(options, driver.ChromeService(driver_path))
    try:
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        browser.get(url)
        wait = waits.WebDriverWait(browser, 60, 0.02)
        drawn = wait.until(lambda _: browser.execute_script(DRAWN))
        return browser.execute_script(PAINTED), drawn
    finally:
        browser.quit()


async def measured(rounds: int) -> dict[str, list[tuple[float, float]]]:
    limits = [Limit("requests", 600, 60, capacity=20), Limit("tokens", 6e5, 60, capacity=1e4)]
    scheduler = TaskScheduler(12, limits=limits)

    async def feed() -> None:
        while True:
            await scheduler.start_task(asyncio.sleep(0.3), 1000)

    found: dict[str, list[tuple[float, float]]] = {size: [] for size in SIZES}
    async with scheduler.serve_dashboard() as page:
        feeding = asyncio.create_task(feed())
        for _ in range(rounds):
            for size, pixels in SIZES.items():
                times = await asyncio.to_thread(seen, page.url, *pixels)
                announce([size, *(f"{time:.0f} ms" for time in times)])
                found[size].append(times)
        feeding.cancel()
    return found


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="./dev bench paint",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--rounds", type=int, default=5, help="browsers of each size (default: 5)")
    options = parser.parse_args(argv)
    missing = [name for name in PROGRAMS if shutil.which(name) is None]
    if importlib.util.find_spec("selenium") is None:
        missing.append("selenium")
    if missing:
        parser.error(f"{', '.join(missing)} missing: ./dev check browser installs them")
    rows = []
    for size, times in asyncio.run(measured(options.rounds)).items():
        columns = zip(*times, strict=True)
        rows.append([size, *(f"{of(column):.0f}" for column in columns for of in (min, median))])
    print(table(["page", "first paint", "middle", "charts", "middle"], rows))
    return 0 if all(float(row[1]) <= TARGET for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
