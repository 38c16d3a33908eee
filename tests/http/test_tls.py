"""TLS with a certificate authority made for the test, and HTTP/2."""

# ruff: noqa: SIM117
from __future__ import annotations

import asyncio
import contextlib
import ctypes
import datetime
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from kit.http import Request, Server, echo, serving

from xtremeflow import _http, http
from xtremeflow.http import Client

trustme = pytest.importorskip("trustme")


def run(main: Any) -> Any:
    return asyncio.run(asyncio.wait_for(main, 30))


class Authority:
    def __init__(self, directory: Path) -> None:
        self.ca = trustme.CA()
        self.path = str(directory / "ca.pem")
        self.ca.cert_pem.write_to_path(self.path)

    def context(self, name: str = "localhost", **kwargs: Any) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.ca.issue_cert(name, **kwargs).configure_cert(context)
        return context


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("ca"))


def test_a_trusted_certificate_is_accepted(
    authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        async with serving(echo, tls=authority.context()) as server:
            async with Client(ca=authority.path) as client:
                first = await client.post(server.url + "/", content=b"x")
                assert first.body == b"POST / x"
                assert first.timing.connect > 0
                answers = await asyncio.gather(*(client.get(server.url + "/") for _ in range(50)))
                assert {a.status for a in answers} == {200}
            monkeypatch.setenv("SSL_CERT_FILE", authority.path)
            async with Client() as client:
                assert (await client.get(server.url + "/")).status == 200
            async with Client(verify=False, trust_env=False) as client:
                assert (await client.get(server.url + "/")).status == 200

    run(main())


def test_an_unknown_issuer_is_refused(authority: Authority) -> None:
    async def main() -> None:
        async with serving(echo, tls=authority.context()) as server, Client() as client:
            with pytest.raises(http.CertificateError) as caught:
                await client.post(server.url, content=b"x")
            assert caught.value.phase == "tls"
            assert caught.value.retry_safe
            assert not server.requests

    run(main())


def test_an_expired_certificate_is_refused(authority: Authority) -> None:
    past = datetime.datetime(2020, 1, 1, tzinfo=datetime.timezone.utc)

    async def main() -> None:
        context = authority.context(not_before=past, not_after=past + datetime.timedelta(days=1))
        async with serving(echo, tls=context) as server, Client(ca=authority.path) as client:
            with pytest.raises(http.CertificateError, match="expired"):
                await client.get(server.url)

    run(main())


def test_a_certificate_for_another_host_is_refused(authority: Authority) -> None:
    async def main() -> None:
        context = authority.context("other.example")
        async with serving(echo, tls=context) as server, Client(ca=authority.path) as client:
            with pytest.raises(http.CertificateError):
                await client.get(server.url)
            assert not server.requests

    run(main())


def test_a_client_certificate_is_shown_to_the_server(authority: Authority, tmp_path: Path) -> None:
    own = authority.ca.issue_cert("me@example.org")
    cert, key = str(tmp_path / "cert.pem"), str(tmp_path / "key.pem")
    own.cert_chain_pems[0].write_to_path(cert)
    own.private_key_pem.write_to_path(key)

    async def main() -> None:
        context = authority.context()
        context.verify_mode = ssl.CERT_REQUIRED
        authority.ca.configure_trust(context)
        async with serving(echo, tls=context) as server:
            async with Client(ca=authority.path, cert=(cert, key)) as client:
                assert (await client.get(server.url + "/")).status == 200
            async with Client(ca=authority.path) as client:
                with pytest.raises(http.TransportError):
                    await client.get(server.url + "/")

    run(main())


@pytest.mark.parametrize("door", ["client", "httpx2", "httpx"])
def test_a_client_certificate_does_not_follow_a_redirect_to_another_host(
    authority: Authority, tmp_path: Path, door: str
) -> None:
    if door != "client":
        pytest.importorskip(door)
    own = authority.ca.issue_cert("me@example.org")
    cert, key = str(tmp_path / "cert.pem"), str(tmp_path / "key.pem")
    own.cert_chain_pems[0].write_to_path(cert)
    own.private_key_pem.write_to_path(key)
    shown: list[tuple[str, bool]] = []

    async def handler(request: Request) -> None:
        shown.append((request.path, bool(request.writer.get_extra_info("peercert"))))
        if request.path == "/away":
            await request.answer(b"", 307, {"location": other.url + "/there"})
        elif request.path == "/here":
            await request.answer(b"", 307, {"location": "/end"})
        elif request.path == "/there":
            await request.answer(b"", 307, {"location": server.url + "/back"})
        else:
            await request.answer()

    async def ask(url: str) -> None:
        options: Any = {"ca": authority.path, "cert": (cert, key)}
        if door == "client":
            async with Client(follow_redirects=5, **options) as client:
                assert (await client.post(url + "/away", content=b"x")).ok
                assert (await client.get(url + "/here")).ok
        else:
            library = pytest.importorskip(door)
            through = http.transport(**options)
            async with library.AsyncClient(transport=through, follow_redirects=True) as client:
                assert (await client.post(url + "/away", content=b"x")).is_success
                assert (await client.get(url + "/here")).is_success

    async def main() -> None:
        nonlocal server, other
        context = authority.context()
        context.verify_mode = ssl.CERT_OPTIONAL
        authority.ca.configure_trust(context)
        async with serving(handler, tls=context) as server:
            async with serving(handler, tls=context) as other:
                await ask(server.url)

    server = other = Server()
    run(main())
    assert shown == [("/away", True), ("/there", False), ("/back", False),
                     ("/here", True), ("/end", True)]  # fmt: skip


def test_a_server_without_tls_is_a_tls_error() -> None:
    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    async def main() -> None:
        server = await asyncio.start_server(greet, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        async with Client() as client:
            with pytest.raises(http.TLSError) as caught:
                await client.post(f"https://127.0.0.1:{port}/", content=b"x")
            assert caught.value.retry_safe
            assert caught.value.phase == "tls"
        server.close()

    run(main())


# ---- HTTP/2 ----


async def application(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "lifespan":
        while True:
            message = await receive()
            await send({"type": message["type"] + ".complete"})
            if message["type"] == "lifespan.shutdown":
                return
    path = scope["path"]
    if path == "/hang":
        await asyncio.sleep(60)
    status = 429 if path == "/early" else 200  # early: before the body is read
    body = b""
    while path != "/early":
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body"):
            break
    headers = [(b"x-version", scope["http_version"].encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    if path == "/events":
        for i in range(5):
            event = b"data: %d\n\n" % i
            await send({"type": "http.response.body", "body": event, "more_body": True})
            await asyncio.sleep(0.01)
        await send({"type": "http.response.body", "body": b""})
    else:
        await send({"type": "http.response.body", "body": b"%d bytes" % len(body)})


class Streams(dict[int, Any]):
    """The streams of hypercorn 0.18, which fails over data for a stream that it has answered."""

    class Answered:
        async def handle(self, event: object) -> None:
            pass

    def __missing__(self, stream_id: int) -> Any:
        return self.Answered()


@contextlib.asynccontextmanager
async def http2_server(authority: Authority, directory: Path) -> AsyncIterator[str]:
    asyncio_server = pytest.importorskip("hypercorn.asyncio")
    protocol = pytest.importorskip("hypercorn.protocol.h2").H2Protocol
    begin = protocol.__init__

    def with_streams(self: Any, *arguments: Any, **named: Any) -> None:
        begin(self, *arguments, **named)
        self.streams = Streams()

    config = pytest.importorskip("hypercorn.config").Config()
    issued = authority.ca.issue_cert("localhost")
    config.certfile, config.keyfile = str(directory / "c.pem"), str(directory / "k.pem")
    issued.cert_chain_pems[0].write_to_path(config.certfile)
    issued.private_key_pem.write_to_path(config.keyfile)
    config.bind = ["127.0.0.1:0"]
    config.alpn_protocols = ["h2", "http/1.1"]
    config.accesslog = config.errorlog = None
    sockets = config.create_sockets()
    port = sockets.secure_sockets[0].getsockname()[1]
    config.create_sockets = lambda: sockets
    stop = asyncio.Event()
    task = asyncio.create_task(
        asyncio_server.serve(application, config, shutdown_trigger=stop.wait)
    )
    await asyncio.sleep(0.1)
    try:
        with mock.patch.object(protocol, "__init__", with_streams):
            yield f"https://localhost:{port}"
    finally:
        stop.set()
        await asyncio.wait([task], timeout=5)


needs_http2 = pytest.mark.skipif(not _http.has_http2, reason="libcurl without HTTP/2")


@needs_http2
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::DeprecationWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_http2_shares_one_connection(authority: Authority, tmp_path: Path) -> None:
    async def main() -> None:
        async with http2_server(authority, tmp_path) as url:
            async with Client(ca=authority.path, http2=True) as client:
                answers = await asyncio.gather(
                    *(client.post(url + "/", content=b"x" * 3000) for _ in range(50))
                )
                assert {a.body for a in answers} == {b"3000 bytes"}
                assert {a.http_version for a in answers} == {"HTTP/2"}
                assert {a.headers["x-version"] for a in answers} == {"2"}
                assert client.stats()["connects"] == 1
                async with client.stream("POST", url + "/events", json={}) as stream:
                    assert [e.data async for e in stream.events()] == list("01234")
                tasks = [asyncio.create_task(client.get(url + "/hang")) for _ in range(5)]
                await asyncio.sleep(0.05)
                for task in tasks:
                    task.cancel()
                await asyncio.wait(tasks)
                assert client.stats()["active"] == 0
                assert (await client.get(url + "/")).body == b"0 bytes"
                assert client.stats()["connects"] == 1
            async with Client(ca=authority.path, http2=False) as client:
                assert (await client.get(url + "/")).http_version == "HTTP/1.1"

    run(main())


@needs_http2
@pytest.mark.skipif(_http.libcurl_number < 0x081700, reason="known to fail; HTTP/2 is off there")
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::DeprecationWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_http2_answers_before_the_body_is_read(authority: Authority, tmp_path: Path) -> None:
    async def main() -> None:
        async with http2_server(authority, tmp_path) as url, Client(ca=authority.path) as client:
            calls = [client.post(url + "/early", content=b"x" * 200_000) for _ in range(20)]
            answers = await asyncio.gather(*calls)
            assert {a.status for a in answers} == {429}
            assert {a.http_version for a in answers} == {"HTTP/2"}

    run(main())


def test_http2_is_on_by_default_only_where_it_is_known_to_work() -> None:
    from xtremeflow.http._options import http2_default

    assert http2_default() == (_http.has_http2 and _http.libcurl_number >= 0x081700)


def test_the_version_told_is_that_of_the_library_that_is_loaded() -> None:
    major, minor, patch = (int(part) for part in _http.libcurl_version.split("-")[0].split("."))
    assert _http.libcurl_number == major << 16 | minor << 8 | patch
    mapped = Path("/proc/self/maps")
    if not mapped.exists():
        pytest.skip("what is loaded is looked up in /proc")
    paths = {line.split()[-1] for line in mapped.read_text().splitlines() if "libcurl" in line}
    told = set()
    for path in paths:
        library = ctypes.CDLL(path)
        library.curl_version.restype = ctypes.c_char_p
        told.add(library.curl_version().decode().split()[0])
    assert f"libcurl/{_http.libcurl_version}" in told


def test_https_falls_back_to_http1(authority: Authority) -> None:
    async def handler(request: Request) -> None:
        await request.answer()

    async def main() -> None:
        async with serving(handler, tls=authority.context()) as server:
            async with Client(ca=authority.path, http2=True) as client:
                answers = await asyncio.gather(*(client.get(server.url) for _ in range(20)))
                assert {a.http_version for a in answers} == {"HTTP/1.1"}

    run(main())
