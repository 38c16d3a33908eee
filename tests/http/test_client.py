"""The native client against a server that follows a script."""

# ruff: noqa: ASYNC110, PT031
from __future__ import annotations

import asyncio
import gc
import gzip
import os
import threading
from typing import Any

import pytest
from kit.http import Request, echo, serving

from xtremeflow import http
from xtremeflow.http import Client


def run(main: Any) -> Any:
    return asyncio.run(asyncio.wait_for(main, 30))


def test_post_sends_json_and_gets_it_back() -> None:
    async def handler(request: Request) -> None:
        assert request.header("content-type") == "application/json"
        assert request.header("user-agent") == "xtremeflow"
        assert request.header("expect") is None
        await request.answer(request.body, headers={"content-type": "application/json"})

    async def main() -> None:
        async with serving(handler) as server, Client() as client:
            response = await client.post(server.url + "/v1", json={"a": [1, "é"]})
            assert response.status == response.status_code == 200
            assert response.ok
            assert response.json() == {"a": [1, "é"]}
            assert response.url == server.url + "/v1"
            assert response.method == "POST"
            assert response.http_version == "HTTP/1.1"
            assert response.raise_for_status() is response

    run(main())


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "QUERY"])
@pytest.mark.parametrize("content", [None, b"", b"bytes", "té", bytearray(b"array")])
def test_methods_and_bodies_in_turn_on_one_connection(method: str, content: Any) -> None:
    body = content.encode() if isinstance(content, str) else bytes(content or b"")

    async def main() -> None:
        async with serving(echo) as server, Client() as client:
            for m, c, b in [(method, content, body), ("POST", b"x", b"x"), (method, content, body)]:
                response = await client.request(m, server.url + "/p", content=c)
                assert response.body == b"%s /p %s" % (m.encode(), b)
            assert server.connections == 1

    run(main())


def test_head_has_no_body() -> None:
    async def handler(request: Request) -> None:
        await request.send(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n")

    async def main() -> None:
        async with serving(handler) as server, Client() as client:
            response = await client.request("HEAD", server.url)
            assert response.body == b""
            assert response.headers["content-length"] == "10"

    run(main())


def test_headers_override_and_repeat_in_any_case() -> None:
    async def handler(request: Request) -> None:
        seen.append(request.headers)
        await request.send(
            b"HTTP/1.1 200 OK\r\nX-One: 1\r\nSet-Cookie: a=1\r\nset-cookie: b=2\r\n"
            b"X-Folded: a\r\n  b\r\nX-Empty:\r\ncontent-length: 0\r\n\r\n"
        )

    seen: list[list[tuple[str, str]]] = []

    async def main() -> None:
        async with (
            serving(handler) as server,
            Client(headers={"Authorization": "Bearer a", "X-Default": "d"}) as client,
        ):
            response = await client.post(
                server.url, headers=[("authorization", b"Bearer b"), ("X-E", ""), ("a", "1"),
                                     ("a", "2"), ("Content-Length", "99")]
            )  # fmt: skip
            sent = [(n.lower(), v) for n, v in seen[0]]
            assert [v for n, v in sent if n == "authorization"] == ["Bearer b"]
            assert [v for n, v in sent if n == "a"] == ["1", "2"]
            assert ("x-e", "") in sent
            assert ("x-default", "d") in sent
            assert ("content-length", "0") in sent
            assert "content-type" not in dict(sent)
            h = response.headers
            assert h["x-one"] == h["X-ONE"] == "1"
            assert h.get_all("Set-Cookie") == ["a=1", "b=2"]
            assert h["set-cookie"] == "a=1, b=2"
            assert h["x-empty"] == ""
            assert h["x-folded"] == "a b"
            assert "missing" not in h
            assert h.get("missing") is None
            assert len(h) == 5

    run(main())


def test_params_and_base_url() -> None:
    async def main() -> None:
        async with serving(echo) as server, Client(base_url=server.url + "/api/") as client:
            response = await client.get("/x?a=1", params={"b": "ü &"})
            assert response.body == b"GET /api/x?a=1&b=%C3%BC+%26 "

    run(main())


@pytest.mark.parametrize("base", ["/v1", "/v1/"])
def test_a_url_without_a_host_is_joined_to_the_base(base: str) -> None:
    async def main() -> None:
        async with serving(echo) as server, Client(server.url + base) as client:
            for url in ("models/gemini:count", "/models/gemini:count", "gemini:count", "", "?a=1"):
                await client.get(url)
            await client.get(server.url + "/else")
            assert [request.path for request in server.requests] == [
                "/v1/models/gemini:count", "/v1/models/gemini:count", "/v1/gemini:count", "/v1",
                "/v1?a=1", "/else",
            ]  # fmt: skip

    run(main())


def test_each_method_of_http_sends_itself() -> None:
    async def main() -> None:
        async with serving(echo) as server, Client(server.url) as client:
            for send in (client.post, client.put, client.patch, client.delete):
                name = send.__name__.upper()
                answer = await send("/x", content=b"body", headers={"a": "b"}, params={"c": 1})
                assert answer.body == f"{name} /x?c=1 body".encode()
                assert answer.request == (name, server.url + "/x?c=1")
            assert (await client.get("/x")).body == b"GET /x "

    run(main())


@pytest.mark.parametrize(
    ("line", "reason", "success", "error"),
    [
        (b"201 Very  Good", "Very Good", True, False),
        (b"304", "", False, False),
        (b"404 Not Found\xe9", "Not Found\xe9", False, True),
    ],
)
def test_responses_have_the_attributes_that_users_of_httpx_type(
    line: bytes, reason: str, success: bool, error: bool
) -> None:
    async def handler(request: Request) -> None:
        await request.send(b"HTTP/1.1 " + line + b"\r\ncontent-length: 2\r\n\r\nok")

    async def main() -> None:
        async with serving(handler) as server, Client(server.url) as client:
            answer = await client.get("/x")
            async with client.stream("GET", "/x") as stream:
                await stream.aread()
            assert answer.content == answer.body
            told: list[Any] = [answer, stream]
            for one in told:
                assert (one.reason_phrase, one.is_success, one.is_error) == (reason, success, error)
                assert one.request == ("GET", server.url + "/x")
                assert 0 < one.elapsed.total_seconds() <= one.timing.total < 30

    run(main())


def test_compressed_answers_are_decompressed() -> None:
    async def handler(request: Request) -> None:
        assert "gzip" in (request.header("accept-encoding") or "")
        await request.answer(gzip.compress(b"x" * 10000), headers={"content-encoding": "gzip"})

    async def main() -> None:
        async with serving(handler) as server, Client() as client:
            assert (await client.get(server.url)).body == b"x" * 10000

    run(main())


def test_text_takes_the_charset_of_the_headers() -> None:
    async def handler(request: Request) -> None:
        await request.answer("é".encode("latin-1"), headers={"content-type": request.path[1:]})

    async def main() -> None:
        async with serving(handler) as server, Client() as client:
            assert (await client.get(server.url + "/text/plain;charset=iso-8859-1")).text == "é"
            assert (await client.get(server.url + "/text/plain;charset=nonsense")).text == "\ufffd"

    run(main())


def test_large_bodies_both_ways() -> None:
    big = os.urandom(5_000_000)

    async def main() -> None:
        async with serving(echo) as server, Client() as client:
            response = await client.post(server.url + "/", content=big)
            assert response.body == b"POST / " + big

    run(main())


def test_uploads_from_an_async_iterable() -> None:
    async def pieces() -> Any:
        for i in range(50):
            yield bytes([i]) * 20_000
            if i % 10 == 0:
                await asyncio.sleep(0.001)

    async def failing() -> Any:
        yield b"x"
        raise KeyError("source")

    async def main() -> None:
        async with serving(echo) as server, Client() as client:
            expected = b"".join(bytes([i]) * 20_000 for i in range(50))
            response = await client.post(server.url + "/", content=pieces())
            assert response.body == b"POST / " + expected
            async with client.stream("PUT", server.url + "/", content=pieces()) as stream:
                assert await stream.aread() == b"PUT / " + expected
            with pytest.raises(KeyError, match="source"):
                await client.post(server.url + "/", content=failing())
            assert (await client.get(server.url + "/")).body == b"GET / "

    run(main())


@pytest.mark.parametrize(
    ("kwargs", "error", "match"),
    [
        ({"headers": {"a\r\nb": "c"}}, ValueError, "header name"),
        ({"headers": {"a": "b\r\nX: y"}}, ValueError, "value of header 'a'"),
        ({"headers": {"a": "b\n"}}, ValueError, "value of header 'a'"),
        ({"headers": {"a": "b\0"}}, ValueError, "value of header 'a'"),
        ({"headers": {"a:": "b"}}, ValueError, "header name"),
        ({"headers": {"": "b"}}, ValueError, "header name"),
        ({"headers": {"a": "日本"}}, ValueError, "latin-1"),
        ({"headers": {"a": 1}}, TypeError, "must be str or bytes"),
        ({"headers": 5}, TypeError, "mapping"),
        ({"headers": ["ab"]}, TypeError, "pairs"),
        ({"timeout": 0}, ValueError, "timeout"),
        ({"timeout": float("nan")}, ValueError, "timeout"),
        ({"idle_timeout": -1}, ValueError, "idle_timeout"),
        ({"connect_timeout": float("inf")}, ValueError, "connect_timeout"),
        ({"json": 1, "content": b""}, ValueError, "not both"),
        ({"content": 5}, TypeError, "content must be bytes"),
    ],
)
def test_bad_arguments_are_refused_at_once(
    kwargs: dict[str, Any], error: type[Exception], match: str
) -> None:
    client = Client()
    with pytest.raises(error, match=match):
        client.post("http://127.0.0.1:1/", **kwargs)


@pytest.mark.parametrize(
    "url",
    ["http://a/\r\nX: y", "http://a/ b", "http://a/\n", "ftp://a/", "file:///etc/passwd", "a", ""],
)
def test_bad_urls_are_refused(url: str) -> None:
    with pytest.raises(ValueError, match="url is malformed"):
        Client().get(url)


def test_bad_method_is_refused() -> None:
    with pytest.raises(ValueError, match="method"):
        Client().request("GE T", "http://a/")


@pytest.mark.parametrize(
    ("kwargs", "match"),
    [
        ({"timeout": -1}, "timeout"),
        ({"max_connections": 0}, "max_connections"),
        ({"max_body": -5}, "max_body"),
        ({"ca": "/does/not/exist"}, "ca must be an existing file"),
        ({"cert": "/does/not/exist"}, "cert must be an existing file"),
        ({"proxy": "nonsense"}, "proxy must be a URL"),
        ({"follow_redirects": -1}, "follow_redirects"),
        ({"headers": {"a": "\n"}}, "header 'a'"),
    ],
)
def test_bad_options_are_refused(kwargs: dict[str, Any], match: str) -> None:
    with pytest.raises(ValueError, match=match):
        Client(**kwargs)


def test_error_status_is_an_answer_and_raises_on_demand() -> None:
    async def handler(request: Request) -> None:
        await request.answer(b'{"error": "no"}', 429, {"retry-after": "3"})

    async def main() -> None:
        async with serving(handler) as server, Client(retries=0) as client:
            response = await client.get(server.url + "/x?key=secret")
            assert not response.ok
            with pytest.raises(http.StatusError, match=r"answered 429: \{\"error\"") as caught:
                response.raise_for_status()
            assert caught.value.response is response
            assert caught.value.status_code == 429
            assert "secret" not in str(caught.value)
            async with client.stream("GET", server.url) as stream:
                with pytest.raises(http.StatusError) as caught:
                    await stream.raise_for_status()
                assert caught.value.body == b'{"error": "no"}'

    run(main())


def test_redirects_are_answers_unless_followed_and_keep_credentials_home() -> None:
    async def handler(request: Request) -> None:
        if request.path == "/start":
            await request.answer(b"", 307, {"location": f"http://localhost:{port}/end"})
        elif request.path == "/local":
            await request.answer(b"", 302, {"location": "/end"})
        elif request.path == "/loop":
            await request.answer(b"", 307, {"location": "/loop"})
        elif request.path == "/down":
            await request.answer(b"", 307, {"location": "file:///etc/passwd"})
        else:
            await request.answer(request.method.encode() + request.body)

    async def main() -> None:
        nonlocal port
        async with serving(handler) as server:
            port = server.port
            secret = {"x-api-key": "k", "accept": "a/b"}
            async with Client(headers={"Authorization": "Bearer s"}) as client:
                assert (await client.post(server.url + "/start", content=b"b")).status == 307
            async with Client(headers={"Authorization": "Bearer s"}, follow_redirects=3) as client:
                response = await client.post(server.url + "/local", content=b"b", headers=secret)
                assert response.body == b"GET"
                assert server.requests[-1].header("x-api-key") == "k"
                assert server.requests[-1].header("authorization") == "Bearer s"
                response = await client.post(server.url + "/start", content=b"b", headers=secret)
                assert response.body == b"POSTb"
                last = server.requests[-1]
                assert last.header("x-api-key") is None
                assert last.header("authorization") is None
                assert last.header("accept") == "a/b"
                with pytest.raises(http.TooManyRedirects, match="after 3"):
                    await client.post(server.url + "/loop", content=b"b")
                with pytest.raises(http.RedirectError, match="not followed"):
                    await client.post(server.url + "/down", content=b"b")

    port = 0
    run(main())


@pytest.mark.parametrize("idempotent", [None, True])
def test_a_redirected_request_may_be_repeated_as_the_caller_said(idempotent: bool | None) -> None:
    async def handler(request: Request) -> None:
        if request.path == "/start":
            await request.answer(b"", 307, {"location": "/end"})
        elif sum(r.path == "/end" for r in server.requests) == 1:
            raise ConnectionResetError
        else:
            await request.answer(b"done")

    async def main() -> None:
        nonlocal server
        async with serving(handler) as server, Client(follow_redirects=3, retries=0) as client:
            call = client.post(server.url + "/start", content=b"b", idempotent=idempotent)
            if idempotent:
                assert (await call).body == b"done"
            else:
                with pytest.raises(http.ConnectionLost):
                    await call

    server: Any = None
    run(main())


CREDENTIALS = {
    "authorization": "Bearer s", "api-key": "k1", "x-api-key": "k2", "x-goog-api-key": "k3",
    "cookie": "session=k4", "x-anything": "k5",
}  # fmt: skip


@pytest.mark.parametrize("door", ["client", "httpx2", "httpx"])
def test_credentials_of_any_kind_reach_no_other_host(door: str) -> None:
    async def handler(request: Request) -> None:
        if request.path == "/away":
            await request.answer(b"", 307, {"location": f"http://localhost:{port}/there"})
        elif request.path == "/there":  # a way back does not make it less of a leak
            await request.answer(b"", 307, {"location": f"http://127.0.0.1:{port}/back"})
        elif request.path == "/here":
            await request.answer(b"", 307, {"location": "/end"})
        else:
            await request.answer(request.body)

    async def ask(url: str) -> bytes:
        if door == "client":
            async with Client(headers={"x-own": "k6"}, follow_redirects=5) as client:
                return (await client.post(url, content=b"b", headers=CREDENTIALS)).body
        library = pytest.importorskip(door)
        async with library.AsyncClient(
            transport=http.transport(), follow_redirects=True, headers={"x-own": "k6"}
        ) as client:
            body: bytes = (await client.post(url, content=b"b", headers=CREDENTIALS)).content
            return body

    async def main() -> None:
        nonlocal port
        async with serving(handler) as server:
            port = server.port
            assert await ask(server.url + "/away") == b"b"
            assert await ask(server.url + "/here") == b"b"
            kept = {
                request.path: {name for name in (*CREDENTIALS, "x-own") if request.header(name)}
                for request in server.requests
            }
            everything = {*CREDENTIALS, "x-own"}
            stays = everything if door == "client" else everything - {"cookie"}  # httpx's own rule
            assert kept == {"/away": everything, "/there": set(), "/back": set(),
                            "/here": everything, "/end": stays}  # fmt: skip

    port = 0
    run(main())


def test_the_proxys_credentials_are_none_of_the_headers() -> None:
    secret = {"Proxy-Authorization": "Basic c2VjcmV0"}
    with pytest.raises(ValueError, match="belong in its URL") as caught:
        Client(headers=secret)
    assert "c2VjcmV0" not in str(caught.value)
    with pytest.raises(ValueError, match="belong in its URL"):
        Client().get("http://localhost/", headers=secret)


def test_caps_on_head_and_body() -> None:
    async def handler(request: Request) -> None:
        if request.path == "/head":
            await request.answer(b"", headers={f"x{i}": "y" * 1000 for i in range(100)})
        else:
            await request.start_stream()
            while True:
                await request.chunk(b"z" * 10_000)

    async def main() -> None:
        async with serving(handler) as server, Client(max_head=20_000, max_body=100_000) as client:
            with pytest.raises(http.TooLarge, match="head"):
                await client.get(server.url + "/head")
            with pytest.raises(http.TooLarge, match="body"):
                await client.get(server.url + "/body")
            assert client.stats()["active"] == 0

    run(main())


def test_a_call_is_a_coroutine_for_all_of_asyncio() -> None:
    async def main() -> None:
        async with serving(echo) as server, Client() as client:
            url = server.url + "/"
            assert asyncio.iscoroutine(call := client.get(url))
            assert (await asyncio.create_task(call)).status == 200
            assert [
                r.status for r in await asyncio.gather(*(client.get(url) for _ in range(9)))
            ] == ([200] * 9)
            assert (await asyncio.wait_for(client.get(url), 5)).status == 200
            assert (await asyncio.shield(client.get(url))).status == 200
            done, _ = await asyncio.wait([asyncio.ensure_future(client.get(url))])
            assert done.pop().result().status == 200
            call = client.get(url)
            await call
            with pytest.raises(RuntimeError, match=r"second time|cannot reuse"):
                await call
            client.get(url).close()

    run(main())


def test_a_call_never_awaited_warns_and_sends_nothing() -> None:
    async def main() -> None:
        async with serving(echo) as server, Client() as client:
            with pytest.warns(RuntimeWarning, match="never awaited"):
                client.get(server.url)
                gc.collect()
            await asyncio.sleep(0.01)
            assert not server.requests

    run(main())


def test_cancelling_frees_the_connection_at_once() -> None:
    async def handler(request: Request) -> None:
        await asyncio.sleep(60)

    async def main() -> None:
        async with serving(handler) as server, Client() as client:
            tasks = [asyncio.create_task(client.get(server.url)) for _ in range(20)]
            while len(server.requests) < 20:
                await asyncio.sleep(0.001)
            assert client.stats()["active"] == 20
            for task in tasks:
                task.cancel("enough")
            assert client.stats() | {"active": 0, "sockets": 0} == client.stats()
            results = await asyncio.gather(*tasks, return_exceptions=True)
            assert all(isinstance(r, asyncio.CancelledError) for r in results)
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(client.get(server.url), 0.05)
            assert client.stats()["active"] == 0

    run(main())


def test_a_timeout_says_which_phase_took_too_long() -> None:
    async def handler(request: Request) -> None:
        if request.path == "/trickle":
            await request.start_stream()
            while True:
                await request.chunk(b".")
                await asyncio.sleep(0.02)
        await asyncio.sleep(60)

    async def main() -> None:
        async with serving(handler) as server, Client() as client:
            with pytest.raises(http.TotalTimeout) as total:
                await client.get(server.url + "/trickle", timeout=0.2, idle_timeout=0.1)
            assert isinstance(total.value, TimeoutError)
            assert total.value.phase == "read"
            assert 0.19 < total.value.elapsed < 5
            with pytest.raises(http.IdleTimeout) as idle:
                await client.post(server.url, idle_timeout=0.1, timeout=None)
            assert idle.value.phase == "wait"
            assert not idle.value.retry_safe
            with pytest.raises(http.IdleTimeout) as idle:
                await client.get(server.url, idle_timeout=0.1)
            assert idle.value.retry_safe

    run(main())


def test_closing_ends_what_is_in_flight() -> None:
    async def handler(request: Request) -> None:
        await asyncio.sleep(60)

    async def main() -> None:
        async with serving(handler) as server:
            client = Client()
            task = asyncio.create_task(client.get(server.url))
            while not server.requests:
                await asyncio.sleep(0.001)
            await client.aclose()
            await client.aclose()
            with pytest.raises(http.ClientClosed):
                await task
            with pytest.raises(RuntimeError, match="closed"):
                await client.get(server.url)

    run(main())


def test_a_client_left_open_warns_and_closes() -> None:
    async def main() -> None:
        async with serving(echo) as server:
            client = Client()
            await client.get(server.url + "/")
            with pytest.warns(ResourceWarning, match="unclosed"):
                del client
                gc.collect()

    run(main())


def test_limits_on_connections_make_calls_wait() -> None:
    async def main() -> None:
        async with serving(echo) as server, Client(max_connections_per_host=3) as client:
            await asyncio.gather(*(client.get(server.url + "/") for _ in range(30)))
            assert server.connections == 3

    run(main())


def test_several_loops_and_threads_use_one_client() -> None:
    client = Client()
    results: list[int] = []

    async def main() -> None:
        async with serving(echo) as server:
            answers = await asyncio.gather(*(client.get(server.url + "/") for _ in range(20)))
            results.extend(answer.status for answer in answers)

    run(main())
    threads = [threading.Thread(target=run, args=[main()]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [200] * 100
    asyncio.run(client.aclose())


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_after_a_fork_each_process_has_its_own_connections() -> None:
    async def handler(request: Request) -> None:
        if request.path == "/stream":
            await request.start_stream()
            await request.chunk(b"data: 1\n\n")
            await asyncio.sleep(0.5)
            await request.end_stream()
        else:
            await echo(request)

    async def in_child(client: Client, url: str, stream: http.StreamResponse) -> int:
        with pytest.raises(http.ClientForked, match="forked"):
            await stream.aread()
        status = (await client.get(url)).status
        await client.aclose()
        return status

    async def main() -> None:
        async with serving(handler) as server, Client() as client:
            await client.get(server.url + "/")
            async with client.stream("GET", server.url + "/stream") as stream:
                child = os.fork()
                if child == 0:
                    code = 1
                    try:
                        code = asyncio.run(in_child(client, server.url + "/", stream)) != 200
                    finally:
                        os._exit(code)
                _, status = await asyncio.to_thread(os.waitpid, child, 0)
                assert os.waitstatus_to_exitcode(status) == 0
                assert await stream.aread() == b"data: 1\n\n"
            assert (await client.get(server.url + "/")).status == 200
            assert server.connections == 2  # the parent's and the child's

    run(main())


def test_the_client_works_on_uvloop() -> None:
    uvloop = pytest.importorskip("uvloop")

    async def handler(request: Request) -> None:
        if request.path == "/events":
            await request.start_stream()
            await request.chunk(b"data: 1\n\n")
            await request.end_stream()
        elif request.path == "/hang":
            await asyncio.sleep(60)
        else:
            await echo(request)

    async def main() -> None:
        async with serving(handler) as server, Client() as client:
            answers = await asyncio.gather(*(client.get(server.url + "/") for _ in range(100)))
            assert {a.status for a in answers} == {200}
            async with client.stream("GET", server.url + "/events") as stream:
                assert [event.data async for event in stream.events()] == ["1"]
            with pytest.raises(http.TotalTimeout):
                await client.get(server.url + "/hang", timeout=0.05)
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(client.get(server.url + "/hang"), 0.05)

    loop = uvloop.new_event_loop()
    try:
        loop.run_until_complete(main())
    finally:
        loop.close()


def test_the_times_of_an_answer_add_up() -> None:
    async def handler(request: Request) -> None:
        await asyncio.sleep(0.05)
        await request.answer()

    async def main() -> None:
        async with serving(handler) as server, Client() as client:
            first = (await client.get(server.url)).timing
            assert 0 < first.connect < first.first_byte <= first.total
            assert first.first_byte >= 0.04
            second = (await client.get(server.url)).timing
            assert second.connect == 0.0

    run(main())


@pytest.mark.parametrize("then", ["go on", "cancel", "close"])
def test_calls_started_by_tasks_that_one_turn_wakes(then: str) -> None:
    """They are sent together, after these tasks: none is lost, whatever happens before."""
    size = 150
    all_there = asyncio.Event()

    async def handler(request: Request) -> None:
        if request.path == "/first":
            arrived.append(request)
            if len(arrived) == size:
                all_there.set()
            await all_there.wait()  # so that many are answered within a turn
        await request.answer(b"ok")

    arrived: list[Request] = []

    async def main() -> None:
        second: list[asyncio.Task[Any]] = []

        async def one(client: Client) -> int:
            assert (await client.post(server.url + "/first")).body == b"ok"
            second.append(asyncio.current_task())  # type: ignore[arg-type]
            if len(second) % 3 == 0 and then == "cancel":
                second[-2].cancel()
            if len(second) == size // 2 and then == "close":
                await client.aclose()
            return (await client.post(server.url + "/second")).status

        async with serving(handler) as server, Client(timeout=20) as client:
            tasks = [asyncio.create_task(one(client)) for _ in range(size)]
            results = await asyncio.gather(*tasks, return_exceptions=True)
            failed = [r for r in results if r != 200]
            if then == "go on":
                assert not failed
            elif then == "cancel":
                assert all(isinstance(r, asyncio.CancelledError) for r in failed)
                assert 0 < len(failed) <= size // 3
            else:
                assert failed
                assert all(isinstance(r, (http.HTTPError, RuntimeError)) for r in failed)

    run(main())
