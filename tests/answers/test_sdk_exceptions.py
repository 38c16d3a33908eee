"""The exceptions of the real SDKs mean what the answers mean that they were made of."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from kit.answers import answers

from xtremeflow.answers.answer import Answer
from xtremeflow.answers.exceptions import verdict_of
from xtremeflow.answers.table import judged
from xtremeflow.answers.verdict import Meaning

ASKED = [{"role": "user", "content": "Hello"}]
URL = "http://provider"
Mocked = Callable[[Any], Any]  # from the library of the SDK's client to that client


def openai(mocked: Mocked) -> Callable[[], object]:
    sdk = pytest.importorskip("openai")
    client = sdk.OpenAI(
        api_key="k", base_url=URL, max_retries=0, http_client=mocked(pytest.importorskip("httpx2"))
    )
    return lambda: client.chat.completions.create(model="m", messages=ASKED)


def anthropic(mocked: Mocked) -> Callable[[], object]:
    sdk = pytest.importorskip("anthropic")
    client = sdk.Anthropic(
        api_key="k", base_url=URL, max_retries=0, http_client=mocked(pytest.importorskip("httpx2"))
    )
    return lambda: client.messages.create(model="m", max_tokens=5, messages=ASKED)


def groq(mocked: Mocked) -> Callable[[], object]:
    sdk = pytest.importorskip("groq")
    client = sdk.Groq(
        api_key="k", base_url=URL, max_retries=0, http_client=mocked(pytest.importorskip("httpx"))
    )
    return lambda: client.chat.completions.create(model="m", messages=ASKED)


def mistral(mocked: Mocked) -> Callable[[], object]:
    sdk = pytest.importorskip("mistralai.client")
    client = sdk.Mistral(api_key="k", server_url=URL, client=mocked(pytest.importorskip("httpx")))
    return lambda: client.chat.complete(model="m", messages=ASKED)


def google(mocked: Mocked) -> Callable[[], object]:
    sdk = pytest.importorskip("google.genai")
    options = sdk.types.HttpOptions(base_url=URL, httpx_client=mocked(pytest.importorskip("httpx")))
    client = sdk.Client(api_key="k", http_options=options)
    return lambda: client.models.generate_content(model="m", contents="Hello")


@pytest.mark.parametrize("sdk", [openai, anthropic, groq, mistral, google])
def test_an_exception_means_what_its_answer_does(sdk: Callable[[Mocked], Any]) -> None:
    told: list[Any] = []

    def mocked(library: Any) -> Any:
        def respond(_: object) -> Any:
            status, headers, body = told[-1]
            return library.Response(status, headers=headers, content=body)

        return library.Client(transport=library.MockTransport(respond))

    call = sdk(mocked)

    @settings(max_examples=60, suppress_health_check=list(HealthCheck))
    @given(answers)
    def check(answer: Any) -> None:
        assume(answer[0] >= 400)
        told.append(answer)
        verdict = judged(Answer(*answer))
        with pytest.raises(Exception) as caught:  # noqa: PT011 -- of any SDK
            call()
        raised = verdict_of(caught.value)
        if isinstance(caught.value, (UnicodeDecodeError, RecursionError)):
            # Google's SDK fails over such a body itself, and tells nothing of the answer.
            assert raised.meaning is Meaning.FAULT
            return
        assert raised.meaning is verdict.meaning
        assert raised.wait == pytest.approx(verdict.wait, abs=1.0)
        assert raised.is_final is verdict.is_final

    check()
