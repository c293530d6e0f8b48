"""What goes wrong must reach the caller as the SDK's own exception, in time."""

import time

import anthropic
import openai
import httpx
import pytest

from surfaces import SURFACES, Ask, status_of


def refused(pair, ask, send=None):
    with pytest.raises(pair.client.status_error) as caught:
        (send or pair.client.ask)(ask)
    return caught.value


@pytest.mark.parametrize("status", [400, 429, 500])
def test_upstream_errors_become_the_sdks_exceptions(pair, send, status):
    error = refused(pair, pair.ask(f"fake-error-{status}"), send)
    assert type(error) is pair.client.classes[status], error
    assert status_of(error) == status
    assert "fake provider" in str(error)


def test_an_overloaded_provider_is_a_server_error(pair, send):
    assert status_of(refused(pair, pair.ask("fake-error-503"), send)) >= 500


def test_a_rate_limit_says_when_to_come_back(pair):
    error = refused(pair, pair.ask("fake-ratelimit-9"))
    assert type(error) is pair.client.classes[429]
    assert "Rate limit" in str(error)
    if pair.client.name != "gemini":
        assert error.response.headers["retry-after"] == "9"
    else:
        assert error.status == "RESOURCE_EXHAUSTED"


def test_a_prompt_that_is_too_long(pair, send):
    error = refused(pair, pair.ask("fake-context-window"), send)
    assert type(error) is pair.client.classes[400], error
    if isinstance(error, openai.APIError):
        assert error.code == "context_length_exceeded"
    elif isinstance(error, anthropic.APIStatusError):
        assert error.body["error"]["type"] == "invalid_request_error"
    else:
        assert error.status == "INVALID_ARGUMENT"


@pytest.mark.parametrize("broken", ["empty", "temperature"])
def test_a_bad_request_is_refused(pair, broken):
    sdk, model = pair.client.sdk, pair.model("fake-ok")
    with pytest.raises(pair.client.status_error) as caught:
        if pair.client.name == "openai":
            messages = [] if broken == "empty" else [{"role": "user", "content": "hi"}]
            sdk.chat.completions.create(model=model, messages=messages, temperature=99)
        elif pair.client.name == "anthropic":
            messages = [] if broken == "empty" else [{"role": "user", "content": "hi"}]
            sdk.messages.create(model=model, messages=messages, max_tokens=9, extra_body={"temperature": 99})
        else:
            contents = [{"role": "user", "parts": []}] if broken == "empty" else "hi"
            sdk.models.generate_content(model=model, contents=contents, config={"temperature": 99})
    assert status_of(caught.value) == 400


# Between dialects the gateway may bring a value into range, or leave an empty turn out.
test_a_bad_request_is_refused.pairs_where = lambda surface, upstream: SURFACES[surface].upstream == upstream


@pytest.mark.gateway
@pytest.mark.parametrize("surface", list(SURFACES))
def test_a_wrong_key_is_refused(stack, surface):
    client = SURFACES[surface](stack.url, "sk-" + "0" * 48)
    model = "oai/fake-ok"
    with pytest.raises(client.status_error) as caught:
        client.ask(Ask(model=model))
    assert status_of(caught.value) == 401
    assert type(caught.value) is client.classes[401]


@pytest.mark.gateway
@pytest.mark.parametrize("surface", list(SURFACES))
def test_an_unknown_model_is_refused(clients, surface):
    client = clients[surface]
    with pytest.raises(client.status_error) as caught:
        client.ask(Ask(model="no-such-model"))
    assert status_of(caught.value) in (400, 404)
    assert "no-such-model" in str(caught.value)


@pytest.mark.gateway
def test_the_providers_refusal_of_our_key_does_not_reveal_it(clients):
    with pytest.raises(openai.AuthenticationError) as caught:
        clients["openai"].ask(Ask(model="bad-key/fake-ok"))
    assert "wrong-key" not in str(caught.value)


@pytest.mark.gateway
def test_the_callers_key_never_reaches_the_provider(clients, stack, tag):
    for client in clients.values():
        for upstream in ("oai", "ant", "gem", "bed"):
            client.ask(Ask(model=f"{upstream}/fake-ok", user=tag))
    calls = stack.received(tag)
    assert len(calls) == 12
    assert all(stack.key not in str(call["headers"]) + call["query"] for call in calls)


def test_a_failure_in_a_stream_is_an_exception(pair):
    texts, close = pair.client.open_stream(pair.ask("fake-error-mid-stream-6", user="say: a b c d e f g h"))
    heard = []
    with pytest.raises(pair.client.any_error):
        for text in texts:
            heard.append(text)
    close()
    assert heard, "what came before the failure must arrive"


@pytest.mark.gateway
@pytest.mark.parametrize("script", ["fake-cut-after-6-chunks", "fake-reset-after-6-chunks", "fake-malformed-after-6"])
def test_a_broken_stream_is_an_exception(pair, script):
    texts, close = pair.client.open_stream(pair.ask(f"{script}", user="say: a b c d e f g h"))
    heard = []
    with pytest.raises(pair.client.any_error):
        for text in texts:
            heard.append(text)
    close()
    assert heard and "a b c d e f g h".startswith("".join(heard))


@pytest.mark.gateway
@pytest.mark.parametrize("script", ["fake-reset", "fake-html-502", "fake-cut-after-1-chunks"])
def test_a_broken_answer_is_a_server_error(pair, script):
    assert status_of(refused(pair, pair.ask(script))) >= 500


@pytest.mark.gateway
@pytest.mark.parametrize("script", ["fake-empty", "fake-cut-after-0-chunks"])
def test_a_stream_without_content_is_an_error(pair, script):
    with pytest.raises(pair.client.any_error):
        texts, close = pair.client.open_stream(pair.ask(script))
        list(texts)


def test_hanging_up_in_a_stream_reaches_the_provider(pair, stack, tag):
    script = f"fake-interval-100+tokens-500+{tag}"
    texts, close = pair.client.open_stream(pair.ask(script))
    assert next(texts)
    begin = time.monotonic()
    close()
    # An iterator over the stream keeps the connection where the SDK has no close of its own.
    texts.close()
    del texts
    call = stack.eventually(tag, lambda call: call["closed_early_ms"] is not None)
    assert time.monotonic() - begin < 2
    assert call["chunks_sent"] < 100


def test_hanging_up_before_the_first_byte_reaches_the_provider(pair, stack, tag):
    model = pair.model(f"fake-slow-8000+{tag}")
    path, body = {
        "openai": ("/v1/chat/completions", {"model": model, "messages": [{"role": "user", "content": "hi"}]}),
        "anthropic": ("/v1/messages", {"model": model, "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]}),
        "gemini": (f"/v1beta/models/{model}:generateContent", {"contents": [{"parts": [{"text": "hi"}]}]}),
    }[pair.client.name]
    headers = {
        "authorization": f"Bearer {stack.key}", "x-api-key": stack.key, "x-goog-api-key": stack.key,
        "anthropic-version": "2023-06-01",
    }
    names = {"openai": ["authorization"], "anthropic": ["x-api-key", "anthropic-version"], "gemini": ["x-goog-api-key"]}
    headers = {name: headers[name] for name in names[pair.client.name]}
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(stack.url + path, json=body, headers=headers, timeout=0.5)
    begin = time.monotonic()
    stack.eventually(tag, lambda call: call["closed_early_ms"] is not None)
    assert time.monotonic() - begin < 2


@pytest.mark.gateway
def test_retries_recover_from_a_failing_provider(clients, stack, tag):
    answer = clients["openai"].ask(Ask(model=f"retry/fake-flaky-2+{tag}", user="say: recovered"))
    assert answer.text == "recovered"
    assert len(stack.received(tag)) == 3


@pytest.mark.gateway
@pytest.mark.parametrize("name", ["openai", "anthropic"])
def test_a_fallback_answers_for_a_broken_model(clients, name, mode):
    client = clients[name]
    send = client.ask if mode == "whole" else client.stream
    assert send(Ask(model="broken", user="say: from the other one")).text == "from the other one"
