"""Arguments are checked at once, and no message shows a secret."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import gc
import pickle
import re
from typing import Any

import pytest
from kit.http import Request, echo, serving

from xtremeflow import TaskScheduler, http
from xtremeflow.http import Client, transport
from xtremeflow.http._url import shown_url

NOWHERE = "http://127.0.0.1:1"


def run(main: Any) -> Any:
    return asyncio.run(asyncio.wait_for(main, 30))


# ---- secrets ----


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": "Bearer SECRET\u201c"},
        {"Authorization": "Bearer SECRET\n"},
        {"Authorization": ["SECRET"]},
        {"Authorization": None},
        ["Authorization: Bearer SECRET"],
        [("Authorization", "Bearer", "SECRET")],
        "Authorization: SECRET",
        {"Authorization: SECRET": ""},
        {"Authorization\u201c SECRET": ""},
        {("SECRET",): ""},
    ],
)
def test_header_errors_name_the_header_alone(headers: Any) -> None:
    for refuse in (
        lambda: Client(headers=headers),
        lambda: Client().get(NOWHERE, headers=headers),
    ):
        with pytest.raises((ValueError, TypeError), match="header") as caught:
            refuse()
        assert "SECRET" not in str(caught.value)
        if isinstance(headers, dict) and "Authorization" in headers:
            assert "header 'Authorization'" in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        NOWHERE + "/a b?key=SECRET",
        NOWHERE + "/?key=SECRET\n",
        NOWHERE + "/#SECRET ",
        "htp://host/?key=SECRET",
        "/v1?key=SECRET",
        "user:SECRET@host/",
        "http://user:SECRET@ho st/",
        "http://user:SE/SECRET@host/ ",
    ],
)
def test_errors_over_urls_show_no_secret(url: str) -> None:
    with pytest.raises(http.InvalidURL, match="url is malformed") as caught:
        Client().get(url)
    assert "SECRET" not in str(caught.value)
    assert (caught.value.method, caught.value.url) == ("GET", url)


@pytest.mark.parametrize(
    "given", [{"url": NOWHERE + "/" + "a" * 1_000_000}, {"headers": {"x-a": "b" * 1_000_000}}]
)
def test_a_head_that_libcurl_cannot_build_is_refused_at_once(given: dict[str, Any]) -> None:
    with pytest.raises(http.InvalidRequest, match="no more than 1000000 bytes together") as caught:
        Client().post(**{"url": NOWHERE, **given})
    assert len(str(caught.value)) < 1000


@pytest.mark.parametrize(
    "url", ["http://host:bad/?key=SECRET", "http://u:SECRET@host:99999/", "http://u:S/SECRET@h/"]
)
def test_neither_do_those_of_libcurl(url: str) -> None:
    async def main() -> None:
        async with Client() as client:
            with pytest.raises(http.InvalidURL, match="url is malformed") as caught:
                await client.get(url)
            assert "SECRET" not in str(caught.value)

    run(main())


@pytest.mark.parametrize(
    "proxy",
    ["foo://user:SECRET@h:1", "http://user:SEC'RET@h:port", "http://user:SECRET@h:99999",
     "user:SECRET@h:port"],
)  # fmt: skip
def test_nor_those_over_a_proxy_of_the_environment(
    proxy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", proxy)

    async def main() -> None:
        async with Client() as client:
            with pytest.raises(http.ConnectError, match="proxy") as caught:
                await client.get("http://example.invalid/")
            assert not re.search("SECRET|RET@", str(caught.value))

    run(main())


def test_nor_a_warning_or_a_repr() -> None:
    for retries in (0, 2):
        with pytest.warns(RuntimeWarning, match="never awaited") as seen:
            Client(retries=retries).get(NOWHERE + "/path?key=SECRET")
        assert len(seen) == 1
        assert "/path" in str(seen[0].message) or retries
        assert "SECRET" not in str(seen[0].message)
    client = Client(base_url="http://user:SECRET@host/v1/")
    assert repr(client) == "<Client of http://host/v1, open>"
    asyncio.run(client.aclose())
    assert repr(client) == "<Client of http://host/v1, closed>"
    assert repr(Client()) == "<Client, open>"


@pytest.mark.parametrize(
    "option",
    [
        {"proxy": "foo://user:SECRET@h:1"},
        {"proxy": "http://user:SECRET@h:99999"},
        {"proxy": "http://[SECRET"},
        {"base_url": "ftp://user:SECRET@h/"},
        {"base_url": "http://h/?key=SECRET"},
        {"base_url": "http://user:SECRET@h:port"},
    ],
)
def test_nor_errors_over_options(option: dict[str, Any]) -> None:
    (name,) = option
    with pytest.raises(ValueError, match=f"{name} must") as caught:
        Client(**option)
    assert "SECRET" not in str(caught.value)


def test_urls_are_shown_without_password_and_query() -> None:
    assert shown_url("https://u:p@h:80/a/@me?q#f") == "https://h:80/a/@me"
    assert shown_url("http://[::1]:80") == "http://[::1]:80"
    assert shown_url("http://h:x/?q") == "http://..."
    assert shown_url("") == ""


# ---- URLs ----


@pytest.mark.parametrize(
    ("url", "params", "path"),
    [
        ("/x#frag", {"a": "b"}, "/x?a=b"),
        ("/x?c=1#frag", {"a": "b"}, "/x?c=1&a=b"),
        ("/x", {"a": ["x", "y"], "b": (1, 2.5), "c": True}, "/x?a=x&a=y&b=1&b=2.5&c=true"),
        ("/x", {}, "/x"),
        ("/x", {"a": []}, "/x"),
        ("/é?q=é&r=%41", None, "/%C3%A9?q=%C3%A9&r=%41"),
        ("?q=é", {"a": "é"}, "/?q=%C3%A9&a=%C3%A9"),
    ],
)
def test_urls_are_joined_and_encoded(url: str, params: Any, path: str) -> None:
    async def main() -> None:
        async with serving(echo) as server, Client() as client:
            assert (await client.get(server.url + url, params=params)).status == 200
            assert server.requests[0].path == path

    run(main())


@pytest.mark.parametrize(
    ("params", "match"),
    [
        ("a=b", "params must be a mapping of names to values, not a str"),
        ({"a": None}, r"params\['a'\] must be .* not a NoneType; leave out"),
        ({"a": ["x", None]}, r"params\['a'\] must be"),
        ({"a": {"b": "c"}}, r"params\['a'\] must be"),
        ({1: "a"}, "names of type str, not 1"),
    ],
)
def test_bad_params_are_refused_by_name(params: Any, match: str) -> None:
    with pytest.raises(TypeError, match=match):
        Client().get(NOWHERE, params=params)


@pytest.mark.parametrize(
    "base", ["ftp://x", "api.openai.com", "http://", "http://h/v1?k=1", "http://h/#", "http://h/ a"]
)
def test_bad_base_urls_are_refused(base: str) -> None:
    with pytest.raises(ValueError, match="base_url must be"):
        Client(base_url=base)


# ---- arguments ----

SCHEDULER = TaskScheduler(1)


@pytest.mark.parametrize("scheduler", [None, SCHEDULER])
@pytest.mark.parametrize("make", [Client, transport])
@pytest.mark.parametrize(
    ("option", "match"),
    [
        ({"estimate": 5}, "estimate must be a function .* not 5"),
        ({"settle": "no"}, "settle must be True or False, not 'no'"),
        ({"max_retries": -1}, "max_retries must be 0 or more, got -1"),
        ({"max_retries": 1.5}, "max_retries must be an integer, got 1.5"),
        ({"retries": -1}, "retries must be 0 or more, got -1"),
        ({"max_retry_after": "x"}, "max_retry_after must be a number"),
        ({"verify": "no"}, "verify must be True or False, not 'no'"),
        ({"http2": "x"}, "http2 must be True or False, not 'x'"),
        ({"trust_env": 0}, "trust_env must be True or False, not 0"),
        ({"proxy": 5}, "proxy must be a str or None, not a int"),
        ({"ca": 5}, "ca must be an existing file, not 5"),
        ({"cert": ("a", 5)}, "cert must be an existing file, not 'a'"),
        ({"cert": 5}, "cert must be an existing file, not 5"),
        ({"max_connections": 0}, "max_connections must be 1 or more, got 0"),
        ({"max_connections": 2**70}, r"max_connections must be \d+ or less, got 1180"),
    ],
)
def test_options_are_checked_at_once(
    make: Any, option: dict[str, Any], match: str, scheduler: TaskScheduler | None
) -> None:
    with pytest.raises((ValueError, TypeError), match=match):
        make(scheduler=scheduler, **option)


@pytest.mark.parametrize(
    ("option", "match"),
    [
        ({"scheduler": 5}, "scheduler must be one of"),
        ({"compressed": "x"}, "compressed must be True or False, not 'x'"),
        ({"base_url": 5}, "base_url must be a str, not a int"),
        ({"follow_redirects": "a"}, "follow_redirects must be an integer, got 'a'"),
        ({"follow_redirects": True}, "follow_redirects must be an integer, got True"),
        ({"timeout": "a"}, "timeout must be a number of seconds above 0, or None, not 'a'"),
        ({"timeout": True}, "timeout must be a number"),
        ({"connect_timeout": []}, "connect_timeout must be a number"),
    ],
)
def test_options_of_the_client(option: dict[str, Any], match: str) -> None:
    with pytest.raises(TypeError, match=match):
        Client(**option)


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"timeout": "5"}, "timeout must be a number of seconds above 0, or None, not '5'"),
        ({"content": 5}, "content must be bytes, str or an async iterable of bytes, not a int"),
        ({"content": [b"a"]}, "content must be .* not a list"),
        ({"idempotent": "yes"}, "idempotent must be True, False or None, not 'yes'"),
        ({"url": None}, "url must be a str, not a NoneType"),
    ],
)
@pytest.mark.parametrize("base", ["", NOWHERE])
def test_bad_arguments_of_calls_are_refused_by_name(
    arguments: dict[str, Any], match: str, base: str
) -> None:
    client = Client(base_url=base)
    with pytest.raises(TypeError, match=match):
        client.post(**{"url": NOWHERE, **arguments})


def test_an_empty_url_is_refused() -> None:
    with pytest.raises(http.InvalidURL, match="'': it must begin with http:// or https://"):
        Client().get("")


def test_an_async_body_of_str() -> None:
    async def body() -> Any:
        yield "text"

    async def main() -> None:
        async with serving(echo) as server, Client() as client:
            with pytest.raises(TypeError, match="must give bytes, but it gave a str"):
                await client.post(server.url, content=body())

    run(main())


def test_methods_in_lower_case_are_the_usual_ones() -> None:
    async def main() -> None:
        async with serving(echo) as server, Client() as client:
            await client.request("get", server.url)
            await client.request("Custom", server.url)
            async with client.stream("post", server.url) as stream:
                assert stream.method == "POST"
            assert [r.method for r in server.requests] == ["GET", "Custom", "POST"]

    run(main())


# ---- redirects ----


@pytest.mark.parametrize("location", ["file:///etc/passwd", "http://h:port/", "mailto:a@b"])
def test_redirects_to_forbidden_addresses(location: str) -> None:
    async def handler(request: Request) -> None:
        await request.answer(b"", 307, {"location": location})

    async def main() -> None:
        async with serving(handler) as server, Client(follow_redirects=3) as client:
            with pytest.raises(http.RedirectError, match="not followed") as caught:
                await client.get(server.url)
            assert not isinstance(caught.value, http.TooManyRedirects)

    run(main())


@pytest.mark.parametrize("location", ["/é ü", "/%C3%A9%20ü"])
def test_a_location_in_utf_8(location: str) -> None:
    async def handler(request: Request) -> None:
        if request.path == "/":
            await request.send(
                f"HTTP/1.1 307 X\r\nlocation: {location}\r\ncontent-length: 0\r\n\r\n".encode()
            )
        else:
            await echo(request)

    async def main() -> None:
        async with serving(handler) as server, Client(follow_redirects=3) as client:
            assert (await client.get(server.url)).body == b"GET /%C3%A9%20%C3%BC "

    run(main())


# ---- from process to process ----


def test_answers_and_their_errors_can_be_pickled() -> None:
    async def handler(request: Request) -> None:
        await request.answer(b'{"error": 1}', 400, {"x": "y"})

    async def main() -> None:
        async with serving(handler) as server, Client() as client:
            answer = await client.get(server.url)
            for again in (pickle.loads(pickle.dumps(answer)), copy.deepcopy(answer)):
                assert type(again) is http.Response
                assert (again.url, again.method, again.status, again.body) == (
                    answer.url, "GET", 400, answer.body
                )  # fmt: skip
                assert again.headers == answer.headers
                assert again.timing == answer.timing
                assert again.http_version == "HTTP/1.1"
            for failing in (raised(answer), streamed(client, server.url)):
                with pytest.raises(http.StatusError) as caught:
                    await failing
                error = caught.value
                again = pickle.loads(pickle.dumps(error))
                assert type(again) is http.StatusError
                assert str(again) == str(error)
                assert (again.status, again.body) == (400, answer.body)
                assert again.response.headers["x"] == "y"
                assert again.response.json() == {"error": 1}

    async def raised(answer: http.Response) -> None:
        answer.raise_for_status()

    async def streamed(client: Client, url: str) -> None:
        async with client.stream("GET", url) as stream:
            await stream.raise_for_status()

    run(main())


# ---- what was never sent ----


@pytest.mark.parametrize("options", [{}, {"scheduler": True}, {"follow_redirects": 2}])
@pytest.mark.parametrize("end", ["cancel", "close", "queue"])
def test_calls_ended_before_they_began_do_not_warn(options: dict[str, Any], end: str) -> None:
    async def body() -> Any:
        yield b"x"

    async def main() -> None:
        made: dict[str, Any] = dict(options)
        if "scheduler" in made:
            made["scheduler"] = TaskScheduler(1)
        async with Client(**made) as client:
            for content in (None, body()):
                call = client.post(NOWHERE, content=content)
                if end == "close":
                    call.close()
                elif end == "cancel":
                    task = asyncio.create_task(call)
                    task.cancel()
                    await asyncio.gather(task, return_exceptions=True)
                else:
                    other = TaskScheduler(1)
                    hold = other.submit(asyncio.sleep(60))
                    await asyncio.sleep(0)
                    task = other.submit(call)
                    await asyncio.sleep(0)
                    task.cancel()
                    hold.cancel()
                    await asyncio.gather(task, hold, return_exceptions=True)
                    del task, hold
                call = task = None
                gc.collect()

    run(main())


@pytest.mark.parametrize("options", [{"scheduler": SCHEDULER}, {"follow_redirects": 2}])
def test_a_call_never_awaited_still_warns(options: dict[str, Any]) -> None:
    with pytest.warns(RuntimeWarning, match="never awaited") as seen:
        Client(**options).get(NOWHERE)
    assert len(seen) == 1


def test_a_batch_that_closes_its_rest_does_not_warn() -> None:
    from xtremeflow import kv_batch

    async def failing() -> None:
        raise KeyError("first")

    async def main() -> None:
        async with Client(scheduler=TaskScheduler(1)) as client:
            with contextlib.suppress(BaseException):
                async for _ in kv_batch([failing(), client.get(NOWHERE), client.get(NOWHERE)]):
                    raise RuntimeError
        gc.collect()

    run(main())


def test_the_log_of_retries_names_the_request(caplog: pytest.LogCaptureFixture) -> None:
    async def handler(request: Request) -> None:
        refused = len(server.requests) % 2
        await request.answer(b"", 429 if refused else 200, {"retry-after": "0.01"})

    server: Any = None

    async def main() -> None:
        nonlocal server
        httpx2 = pytest.importorskip("httpx2")
        async with serving(handler) as server:
            url = server.url + "/v1?key=SECRET"
            async with Client(scheduler=TaskScheduler(1)) as client:
                assert (await client.get(url)).ok
                async with client.stream("POST", url) as stream:
                    assert stream.ok
            through = transport(scheduler=TaskScheduler(1))
            async with httpx2.AsyncClient(transport=through) as client:
                assert (await client.get(url)).status_code == 200
            told = [r.getMessage() for r in caplog.records if "Retrying" in r.getMessage()]
            expected = (
                rf"Retrying (GET|POST) {re.escape(server.url)}/v1: refused for a rate \(HTTP 429\)"
            )
            assert len(told) == 3
            assert all(re.match(expected, line) for line in told)
            assert "SECRET" not in caplog.text

    run(main())
