"""The engine takes and returns records: each field has its name."""

from __future__ import annotations

import inspect
import pickle
import re
import sys
from typing import Any

import pytest

from xtremeflow import _http

FIELDS = list(inspect.signature(_http.Outgoing).parameters)


def test_a_request_keeps_what_it_is_given_by_place_and_by_name() -> None:
    given = {name: object() for name in FIELDS}
    made: Any = _http.Outgoing
    by_name = made(**given)
    places = FIELDS[:4]
    by_place = made(*(given[name] for name in places),
                    **{name: given[name] for name in FIELDS if name not in places})  # fmt: skip
    for name, value in given.items():
        assert getattr(by_name, name) is getattr(by_place, name) is value


def test_a_requests_defaults_are_those_of_its_signature() -> None:
    request = _http.Outgoing("GET", "http://a")
    for name, parameter in inspect.signature(_http.Outgoing).parameters.items():
        if parameter.default is not inspect.Parameter.empty:
            assert getattr(request, name) is parameter.default


def test_a_replaced_request_keeps_all_other_fields() -> None:
    given = {name: object() for name in FIELDS}
    made: Any = _http.Outgoing
    request = made(**given)
    for name in FIELDS:
        other = object()
        replaced = request.replace(**{name: other})
        assert {each: getattr(replaced, each) for each in FIELDS} == {**given, name: other}
    assert {each: getattr(request, each) for each in FIELDS} == given
    assert request.replace() is not request
    before = [sys.getrefcount(value) for value in given.values()]
    for _ in range(5):
        with pytest.raises(TypeError, match="a request has no 'jsn'"):
            request.replace(url="u", jsn=True)
        with pytest.raises(TypeError, match="takes names and values, not 2 values alone"):
            request.replace("url", "u")
        request.replace(url="u")
    assert [sys.getrefcount(value) for value in given.values()] == before


@pytest.mark.parametrize(
    ("args", "named", "match"),
    [
        ((), {}, "needs a method and a url"),
        (("GET",), {"headers": None}, "needs a method and a url"),
        (("GET", "u", None, None, True), {}, "4 arguments by place, not 5"),
        (("GET", "u"), {"url": "v"}, "its url twice"),
        (("GET", "u"), {"jsn": True}, "has no 'jsn'"),
    ],
)
def test_a_request_that_is_none_is_refused(
    args: tuple[Any, ...], named: dict[str, Any], match: str
) -> None:
    made: Any = _http.Outgoing
    # Everybody refers to None and True, so their counts tell nothing.
    own = [each for each in (*args, *named.values()) if isinstance(each, str)]
    before = [sys.getrefcount(each) for each in own]
    for _ in range(5):
        with pytest.raises(TypeError, match=re.escape(match)):
            made(*args, **named)
    assert [sys.getrefcount(each) for each in own] == before


def test_no_request_is_made_without_its_fields_or_changed_later() -> None:
    made: Any = _http.Outgoing
    with pytest.raises(TypeError):
        made.__new__(made)
    with pytest.raises(AttributeError):
        made("GET", "u").url = "v"


def test_a_name_that_is_not_interned_counts_as_well() -> None:
    made: Any = _http.Outgoing
    assert made("GET", **{"".join("url"): "u"}).url == "u"


def test_times_have_names_and_can_be_pickled() -> None:
    times = _http.Times(range(1, 9))
    assert (times.lookup, times.connect, times.tls, times.ready) == (1, 2, 3, 4)
    assert (times.first_byte, times.total, times.connects, times.sends) == (5, 6, 7, 8)
    assert pickle.loads(pickle.dumps(times)) == times


@pytest.mark.parametrize("times", [tuple(range(8)), range(8), None])
def test_a_response_is_made_again_of_its_own_times_only(times: Any) -> None:
    made = ("u", "GET", 200, b"", b"", 11, 0.5)
    with pytest.raises(TypeError, match="Times"):
        _http.Response(*made, times)
    assert _http.Response(*made, _http.Times(range(8)))._times.sends == 7
