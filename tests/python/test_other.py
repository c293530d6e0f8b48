"""Embeddings, token counts, model lists, and what must pass unchanged."""

import json
import math
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

import harness
from surfaces import Ask, status_of


def embedders(surface, upstream):
    return surface == "openai" and upstream in ("oai", "gem")


def test_embeddings(pair):
    create = pair.client.sdk.embeddings.create
    vectors = create(model=pair.model("fake-ok"), input=["one", "two"])
    assert [item.index for item in vectors.data] == [0, 1]
    first, second = (item.embedding for item in vectors.data)
    assert first != second
    assert math.isclose(sum(x * x for x in first), 1, abs_tol=1e-3)
    plain = create(model=pair.model("fake-ok"), input="one", encoding_format="float")
    # The SDK asks for base64 unless told otherwise: both spellings are the same vector.
    assert all(math.isclose(a, b, abs_tol=1e-6) for a, b in zip(plain.data[0].embedding, first, strict=True))


test_embeddings.pairs_where = embedders


def test_embeddings_of_a_size(pair):
    vectors = pair.client.sdk.embeddings.create(model=pair.model("fake-ok"), input="one", dimensions=16)
    assert len(vectors.data[0].embedding) == 16


test_embeddings_of_a_size.pairs_where = embedders


def counters(surface, upstream):
    return surface in ("anthropic", "gemini")


def test_tokens_are_counted(pair):
    short = pair.client.count(pair.ask(user="hi"))
    long = pair.client.count(pair.ask(user="hi " * 200))
    assert 0 < short < 50 < long < 1000


test_tokens_are_counted.pairs_where = counters


def test_models_are_listed(clients):
    expected = {"fake-ok"} if harness.DIRECT else {"plain-chat", "plain-claude"}
    for name, client in clients.items():
        assert expected <= set(client.models()), name


SLOW = ["slow-oai/fake-slow-1700", "slow-ant/fake-slow-1700"]


@pytest.mark.gateway
@pytest.mark.parametrize("surface", ["openai", "anthropic", "gemini"])
@pytest.mark.parametrize("model", SLOW)
def test_a_waiting_caller_hears_keep_alives(stack, surface, model):
    """The answer begins before the provider's does.

    Comments or pings; towards Gemini clients only empty lines, since its SDK takes any other line for JSON.
    """
    messages = [{"role": "user", "content": "say: at last"}]
    path, body = {
        "openai": ("/v1/chat/completions", {"model": model, "stream": True, "messages": messages}),
        "anthropic": ("/v1/messages", {"model": model, "stream": True, "max_tokens": 9, "messages": messages}),
        "gemini": (
            f"/v1beta/models/{model}:streamGenerateContent?alt=sse",
            {"contents": [{"role": "user", "parts": [{"text": "say: at last"}]}]},
        ),
    }[surface]
    headers = {"authorization": f"Bearer {stack.key}", "anthropic-version": "2023-06-01"}
    if surface == "gemini":
        headers = {"x-goog-api-key": stack.key}
    begin, first, text = time.monotonic(), None, ""
    with httpx.stream("POST", stack.url + path, json=body, headers=headers, timeout=10) as reply:
        assert reply.status_code == 200
        for piece in reply.iter_text():
            first = first or (time.monotonic() - begin, piece)
            text += piece
    assert first[0] < 1.5, f"first sign of life after {first[0]} s"
    alive = first[1]
    if surface == "gemini":
        assert alive.strip() == "", alive
    elif surface == "openai":
        assert alive.startswith(":"), alive
    else:
        assert alive.startswith(":") or "event: ping" in alive, alive
    assert "last" in text


@pytest.mark.gateway
@pytest.mark.parametrize("model", SLOW)
def test_no_sdk_minds_keep_alives(clients, model):
    with ThreadPoolExecutor() as pool:
        answers = pool.map(lambda client: client.stream(Ask(model=model, user="say: at last")).text, clients.values())
    assert list(answers) == ["at last"] * 3


@pytest.mark.gateway
def test_a_fast_failure_keeps_its_status_despite_keep_alives(clients):
    for client in clients.values():
        with pytest.raises(client.status_error) as caught:
            client.stream(Ask(model="slow-oai/fake-error-429"))
        assert status_of(caught.value) == 429


NUMBERS = '"temperature":1.0,"top_p":5e-1'


def raw_post(stack, path: str, body: str, headers: dict):
    reply = httpx.post(stack.url + path, content=body, headers={"content-type": "application/json", **headers}, timeout=10)
    assert reply.status_code == 200, reply.text
    return reply


def test_openai_bodies_pass_unchanged(stack, tag):
    model = "fake-ok" if harness.DIRECT else "oai/fake-ok"
    unknown = '"invented":{"z":1.50,"a":1E+2,"list":[1.0,0.10]}'
    body = f'{{"model":"{model}",{NUMBERS},{unknown},"messages":[{{"role":"user","content":"{tag}"}}],"seed":9007199254740993}}'
    raw_post(stack, "/v1/chat/completions", body, {"authorization": f"Bearer {stack.key}"})
    assert stack.one(tag)["body"] == body.replace(model, "fake-ok")


def test_anthropic_bodies_pass_unchanged(stack, tag):
    model = "fake-ok" if harness.DIRECT else "ant/fake-ok"
    body = (
        f'{{"model":"{model}","max_tokens":64,{NUMBERS},"metadata":{{"user_id":"u"}},"context_management":{{"edits":[]}},'
        f'"messages":[{{"role":"user","content":[{{"type":"text","text":"{tag}","cache_control":{{"type":"ephemeral"}}}}]}}]}}'
    )
    headers = {"x-api-key": stack.key, "anthropic-version": "2023-06-01", "anthropic-beta": "context-management-2025-06-27"}
    raw_post(stack, "/v1/messages", body, headers)
    call = stack.one(tag)
    assert call["body"] == body.replace(model, "fake-ok")
    assert "context-management-2025-06-27" in call["headers"]["anthropic-beta"]


def test_gemini_bodies_pass_unchanged(stack, tag):
    model = "fake-ok" if harness.DIRECT else "gem/fake-ok"
    body = f'{{"contents":[{{"role":"user","parts":[{{"text":"{tag}"}}]}}],"generationConfig":{{"temperature":1.0,"topP":5e-1}}}}'
    raw_post(stack, f"/v1beta/models/{model}:generateContent", body, {"x-goog-api-key": stack.key})
    assert stack.one(tag)["body"] == body


def test_unknown_members_of_an_answer_reach_the_caller(stack, clients):
    """`system_fingerprint` and `service_tier` are the provider's own words."""
    model = "fake-ok" if harness.DIRECT else "oai/fake-ok"
    raw = clients["openai"].ask(Ask(model=model)).raw
    assert (raw.system_fingerprint, raw.service_tier) == ("fp_fake", "default")


@pytest.mark.gateway
def test_a_field_the_provider_lacks_is_refused_by_name(clients):
    import openai

    for upstream in ("ant", "gem", "bed"):
        with pytest.raises(openai.BadRequestError) as caught:
            clients["openai"].sdk.chat.completions.create(
                model=f"{upstream}/fake-ok", messages=[{"role": "user", "content": "hi"}], logit_bias={"1": 5}
            )
        assert "logit_bias" in str(caught.value)


@pytest.mark.gateway
def test_readiness_is_public(stack):
    reply = httpx.get(f"{stack.url}/health/readiness", timeout=5)
    assert reply.status_code == 200
    assert json.loads(reply.text)["status"]
