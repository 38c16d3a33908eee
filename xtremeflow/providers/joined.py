"""The address of a request."""

from __future__ import annotations


def joined(base_url: str, url: str, prefix: str = "") -> str:
    """Joins the base and the path of `url` without the prefix. A part of both, such as `/v1`,
    counts once.

    https://host/openai/v1 and /v1/chat/completions are https://host/openai/v1/chat/completions.
    """
    if prefix and url.startswith(f"{prefix}/"):
        url = url.removeprefix(prefix)
    scheme, _, rest = base_url.rstrip("/").partition("://")
    host, slash, path = rest.partition("/")
    base = f"{slash}{path}"
    start = 0
    while (start := base.find("/", start)) >= 0:
        if url.startswith(base[start:] + "/"):
            base = base[:start]
            break
        start += 1
    return f"{scheme}://{host}{base}{url}"
