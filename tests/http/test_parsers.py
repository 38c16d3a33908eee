"""The parsers of csrc/net alone, against plain ones in Python; and libcurl's ABI."""

from __future__ import annotations

import ctypes
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

ROOT = Path(__file__).resolve().parent.parent.parent
NET = ROOT / "csrc" / "net"
CC = shlex.split(os.environ.get("CC", "cc"))

HANDLES = """
#include "net/sse.h"
#include "net/head.h"
#include <stdlib.h>
xf_sse *new_sse(size_t limit)
{ xf_sse *p = malloc(sizeof *p); xf_sse_init(p, limit); return p; }
void free_sse(xf_sse *p) { xf_sse_free(p); free(p); }
"""


class Event(ctypes.Structure):
    _fields_ = (
        ("data", ctypes.POINTER(ctypes.c_char)),
        ("type", ctypes.POINTER(ctypes.c_char)),
        ("id", ctypes.POINTER(ctypes.c_char)),
        ("data_size", ctypes.c_size_t),
        ("type_size", ctypes.c_size_t),
        ("id_size", ctypes.c_size_t),
        ("retry", ctypes.c_int64),
    )


@pytest.fixture(scope="module")
def net(tmp_path_factory: pytest.TempPathFactory) -> Any:
    if not shutil.which(CC[0]):
        pytest.skip("needs a C compiler")
    directory = tmp_path_factory.mktemp("net")
    source, library = directory / "handles.c", directory / "net.so"
    source.write_text(HANDLES)
    files = [source, NET / "sse.c", NET / "head.c", NET / "buffer.c"]
    subprocess.run(
        [*CC, "-std=c11", "-O1", "-g", "-fPIC", "-shared", f"-I{NET.parent}", *map(str, files),
         "-o", str(library)],
        check=True,
    )  # fmt: skip
    lib = ctypes.CDLL(str(library))
    lib.new_sse.restype = ctypes.c_void_p
    lib.new_sse.argtypes = [ctypes.c_size_t]
    lib.free_sse.argtypes = [ctypes.c_void_p]
    lib.xf_sse_push.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_size_t]
    lib.xf_sse_next.argtypes = [ctypes.c_void_p, ctypes.POINTER(Event)]
    for name in ("xf_name_ok", "xf_value_ok", "xf_url_ok"):
        getattr(lib, name).restype = ctypes.c_bool
        getattr(lib, name).argtypes = [ctypes.c_char_p, ctypes.c_size_t]
    return lib


Parsed = tuple[bytes, bytes, bytes, int]


def parse(net: Any, pieces: list[bytes], limit: int = 1 << 20) -> list[Parsed] | int:
    parser = net.new_sse(limit)
    events: list[Parsed] = []
    event = Event()
    try:
        for piece in pieces:
            assert net.xf_sse_push(parser, piece, len(piece)) == 0
            while (found := net.xf_sse_next(parser, ctypes.byref(event))) == 1:
                events.append(
                    (
                        event.data[: event.data_size],
                        event.type[: event.type_size],
                        event.id[: event.id_size],
                        event.retry,
                    )
                )
            if found < 0:
                return int(found)
        return events
    finally:
        net.free_sse(parser)


def expected(text: bytes) -> Iterator[Parsed]:
    """The standard's algorithm, on the whole text."""
    text = text.removeprefix(b"\xef\xbb\xbf")
    lines = re.split(rb"\r\n|\r|\n", text)[:-1]  # what follows the last line end is no line yet
    data: list[bytes] = []
    kind = last_id = b""
    retry = -1
    for line in lines:
        if not line:
            if data:
                yield b"\n".join(data), kind, last_id, retry
            data, kind = [], b""
            continue
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if name == b"data":
            data.append(value)
        elif name == b"event":
            kind = value
        elif name == b"id" and b"\0" not in value:
            last_id = value
        elif name == b"retry" and re.fullmatch(rb"[0-9]{1,15}", value):
            retry = int(value)


fragments = st.sampled_from(
    [b"data", b"data:", b"data: ", b"event: x", b"id:", b"id: 7", b"retry: 5", b"retry: x", b":",
     b": c", b"\n", b"\n\n", b"\r", b"\r\n", b"\r\n\r\n", b" ", b"a", "é€".encode(),
     b"\xef\xbb\xbf", b"\xef", b"\0", b"foo: bar", b"x" * 300]
)  # fmt: skip


@given(st.lists(fragments, max_size=30).map(b"".join), st.data())
def test_events_are_those_of_the_standard_however_they_are_cut(
    net: Any, text: bytes, data: st.DataObject
) -> None:
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=8)))
    pieces = [text[i:j] for i, j in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    # A CR at the very end is a line end for both: the LF that may follow belongs to it.
    assert parse(net, pieces) == list(expected(text))


@pytest.mark.parametrize(
    "text", [b"data: " + b"x" * 200, b"data: 1\n" * 100, b": " + b"x" * 200, b"x" * 200 + b"\n"]
)
def test_events_and_lines_are_bounded(net: Any, text: bytes) -> None:
    assert parse(net, [text], limit=100) == -2
    assert parse(net, [text[i : i + 1] for i in range(len(text))], limit=100) == -2


def test_many_small_events_of_a_large_piece(net: Any) -> None:
    assert parse(net, [b"data: 1\n\n" * 50_000]) == [(b"1", b"", b"", -1)] * 50_000


@given(st.binary(max_size=20))
def test_names_values_and_urls_are_sent_only_as_rfc_9110_allows(net: Any, text: bytes) -> None:
    token = re.fullmatch(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+", text) is not None
    assert net.xf_name_ok(text, len(text)) == token
    value = re.fullmatch(rb"[\t\x20-\x7e\x80-\xff]*", text) is not None
    assert net.xf_value_ok(text, len(text)) == value
    url = re.fullmatch(rb"[\x21-\x7e\x80-\xff]+", text) is not None
    assert net.xf_url_ok(text, len(text)) == url


@given(st.binary(max_size=200))
def test_no_head_breaks_the_parser(text: bytes) -> None:
    http = pytest.importorskip("xtremeflow._http")
    for name, value in http.parse_head(text):
        assert name
        assert value == value.strip(" \t")


def test_the_declarations_are_those_of_the_headers(tmp_path: Path) -> None:
    """Every constant and struct of csrc/net/curl.h against <curl/curl.h>, where installed."""
    ours = (NET / "curl.h").read_text()
    probe = subprocess.run(
        [*CC, "-E", "-x", "c", "-"], input="#include <curl/curl.h>", capture_output=True, text=True
    )
    if probe.returncode:
        pytest.skip("libcurl's headers are not installed")
    renamed = {
        "CURL_OK": "CURLE_OK", "CURL_MSG_DONE": "CURLMSG_DONE",
        "CURL_FEATURE_HTTP2": "CURL_VERSION_HTTP2", "CURL_PAUSE_RECV": "CURLPAUSE_RECV",
        "CURL_PAUSE_SEND": "CURLPAUSE_SEND", "CURL_PREREQ_OK": "CURL_PREREQFUNC_OK",
        "CURL_PREREQ_ABORT": "CURL_PREREQFUNC_ABORT", "CURL_HTTP_1_1": "CURL_HTTP_VERSION_1_1",
        "CURL_HTTP_2TLS": "CURL_HTTP_VERSION_2TLS", "CURL_PROTO_HTTP": "CURLPROTO_HTTP",
        "CURL_PROTO_HTTPS": "CURLPROTO_HTTPS", "CURL_PIPE_MULTIPLEX": "CURLPIPE_MULTIPLEX",
    }  # fmt: skip
    values = re.findall(r"^    (CURL\w+) = ([^,]+),$", ours, re.MULTILINE)
    assert len(values) > 80
    since = {"CURLE_TOO_LARGE": "0x080600"}
    checks = [
        f"\n#if LIBCURL_VERSION_NUM >= {since.get(name, 0)}\n"
        f"CHECK({renamed.get(name, name)} == ({value}));\n#endif"
        for name, value in values
    ]
    program = tmp_path / "abi.c"
    program.write_text(
        "#define CURL_DISABLE_DEPRECATION\n#include <curl/curl.h>\n#include <stddef.h>\n"
        '#define CHECK(x) _Static_assert(x, #x)\n'
        + "\n".join(checks)
        + "\nCHECK(offsetof(struct CURLMsg, data) == 16);"
        "\nCHECK(offsetof(struct curl_sockaddr, addr) == 16);"
        "\nCHECK(offsetof(curl_version_info_data, features) == 32);"
        "\nCHECK(offsetof(curl_version_info_data, ssl_version) == 40);"
        "\nCHECK(sizeof(struct curl_slist) == 16);\n"
    )  # fmt: skip
    subprocess.run([*CC, "-std=c11", "-w", "-fsyntax-only", str(program)], check=True)


def test_the_stream_of_zlib_is_that_of_its_header(tmp_path: Path) -> None:
    program = tmp_path / "abi.c"
    fields = {
        "next_in": "next_in", "avail_in": "avail_in", "total_in": "total_in",
        "next_out": "next_out", "avail_out": "avail_out", "total_out": "total_out",
        "message": "msg", "state": "state", "allocate": "zalloc", "opaque": "opaque",
        "data_type": "data_type", "checksum": "adler", "reserved": "reserved",
    }  # fmt: skip
    include = "#include <stddef.h>\n#include <zlib.h>\n"
    program.write_text(include)
    check = [*CC, "-std=c11", "-fsyntax-only", f"-I{NET.parent}", str(program)]
    if subprocess.run(check, capture_output=True).returncode:
        pytest.skip("zlib's header is not installed")
    program.write_text(
        include
        + '#include "net/gzip.h"\n'
        '_Static_assert(sizeof(z_stream) == sizeof(xf_zstream), "size");'
        + "".join(
            f'\n_Static_assert(offsetof(z_stream, {theirs}) == '
            f'offsetof(xf_zstream, {ours}), "{ours}");'
            for ours, theirs in fields.items()
        )
    )  # fmt: skip
    subprocess.run(check, check=True)


def test_without_libcurl_the_import_says_what_to_install() -> None:
    code = "import xtremeflow.http"
    result = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "XTREMEFLOW_LIBCURL": "/nowhere/libcurl.so.4"},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 1
    last = result.stderr.strip().splitlines()[-1]
    assert last.startswith("ImportError: xtremeflow.http needs libcurl 7.80 or newer")
    assert "install" in last
    assert subprocess.run([sys.executable, "-c", "import xtremeflow"]).returncode == 0
