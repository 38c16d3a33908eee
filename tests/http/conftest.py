from __future__ import annotations

try:
    import xtremeflow.http  # noqa: F401
except ImportError as error:
    if "needs libcurl" not in str(error):
        raise
    collect_ignore_glob = ["test_*.py"]
    REASON = str(error)
else:
    REASON = ""


def pytest_report_header() -> str | None:
    return f"tests/http is left out: {REASON}" if REASON else None
