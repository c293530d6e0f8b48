"""Bedrock with Amazon's own library as the referee: its signer, its parser of event streams, its description of the
service. What it refuses or reads differently, Amazon would too."""

import base64
import json

import botocore.session
import httpx
import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials
from botocore.eventstream import EventStreamBuffer
from botocore.validate import validate_parameters

import harness
from surfaces import Ask

USER = ("AKIAFAKEUSER", "fake/secret+key", None)
SESSION = ("ASIAFAKESESSION", "fake/session+secret", "fake/session/token==")
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR42mP4z8AAAAMBAQD3A0FDAAAAAElFTkSuQmCC"


@pytest.fixture(scope="session")
def service():
    return botocore.session.get_session().get_service_model("bedrock-runtime")


def botocore_client(url: str):
    id, secret, token = USER
    return botocore.session.get_session().create_client(
        "bedrock-runtime",
        region_name="eu-west-1",
        endpoint_url=url,
        aws_access_key_id=id,
        aws_secret_access_key=secret,
        aws_session_token=token,
        config=Config(retries={"total_max_attempts": 1}, proxies={}),
    )


def blobs(value, shape):
    """The JSON body as the library's users write it: bytes where the service has base64."""
    if shape.type_name == "structure" and not getattr(shape, "is_document_type", False):
        assert isinstance(value, dict), value
        return {key: blobs(item, shape.members[key]) if key in shape.members else item for key, item in value.items()}
    if shape.type_name == "list":
        return [blobs(item, shape.member) for item in value]
    if shape.type_name == "blob":
        return base64.b64decode(value, validate=True)
    return value


def check_body(body: dict, service, stream: bool):
    shape = service.operation_model("ConverseStream" if stream else "Converse").input_shape
    unknown = set(body) - set(shape.members)
    assert not unknown, unknown
    validate_parameters(blobs(body, shape) | {"modelId": "m"}, shape)


def signature(call: dict, url: str, credentials, region: str) -> str:
    """The signature that Amazon's signer makes of what arrived."""
    headers = call["headers"]
    fields = dict(part.split("=", 1) for part in headers["authorization"].split(" ", 1)[1].split(", "))
    signed = {name: headers[name] for name in fields["SignedHeaders"].split(";")}
    assert signed["host"] == url.removeprefix("http://")
    assert {"content-type", "host", "x-amz-date"} <= set(signed)
    request = AWSRequest(call["method"], url + call["path"], headers=signed, data=call["body"].encode())
    request.context["timestamp"] = headers["x-amz-date"]
    signer = SigV4Auth(Credentials(*credentials), "bedrock", region)
    text = signer.string_to_sign(request, signer.canonical_request(request))
    day = headers["x-amz-date"][:8]
    assert fields["Credential"] == f"{credentials[0]}/{day}/{region}/bedrock/aws4_request"
    assert fields["Signature"] == signer.signature(text, request), f"{signer.canonical_request(request)}"
    return fields["Signature"]


@pytest.mark.gateway
@pytest.mark.parametrize("name", ["ok", "ok+id-a:b", "ok+id-a b~c", "ok+id-(x)&y=z@;,*'!$", "ok+id-ä漢", "ok+id-%2F%"])
def test_signatures_are_those_of_amazons_own_signer(clients, stack, tag, name):
    for client in clients.values():
        # Gemini's clients write the model into a URL, which not every name survives.
        if client.name != "gemini" or name.replace("+", "").isalnum():
            for ask in (client.ask, client.stream):
                ask(Ask(model=f"bed/fake-{name}", user=f"say: {tag} Grüße 漢字 🙂 \" \\ \n"))
    calls = stack.received(tag)
    assert len(calls) >= 4
    for call in calls:
        signature(call, stack.fake_url, USER, "eu-west-1")


@pytest.mark.gateway
def test_a_large_body_is_signed_whole(clients, stack, tag):
    answer = clients["anthropic"].ask(Ask(model="bed/fake-ok", user=f"{tag} " + "words and words " * 20000))
    assert tag in answer.text
    assert signature(stack.one(tag), stack.fake_url, USER, "eu-west-1")


@pytest.mark.gateway
def test_a_role_is_taken_on_once_and_signs_with_its_token(clients, stack, tag):
    for client in clients.values():
        assert tag in client.stream(Ask(model="bed-role/fake-ok", user=tag)).text
    for call in stack.received(tag):
        assert call["headers"]["x-amz-security-token"] == SESSION[2]
        signature(call, stack.fake_url, SESSION, "us-gov-west-1")
    assert len(stack.received("AssumeRole")) == 1


@pytest.mark.gateway
def test_a_key_goes_along_instead_of_a_signature(clients, stack, tag):
    assert tag in clients["openai"].ask(Ask(model="bed-key/fake-ok", user=tag)).text
    call = stack.one(tag)
    assert call["headers"]["authorization"] == "Bearer bedrock-key"
    assert call["path"] == "/model/anthropic.claude-fake-ok/converse"


@pytest.mark.gateway
@pytest.mark.parametrize(
    "rest",
    [
        {"system": "Be brief.", "stops": ["END"], "max_tokens": 50},
        {"image": PIXEL},
        {"tools": ["weather", "clock"], "force": "any"},
        {"tools": ["weather"], "thinking": True},
        {"schema": {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}},
    ],
    ids=["plain", "picture", "forced", "thinking", "schema"],
)
def test_bodies_fit_the_description_of_the_service(clients, stack, service, tag, rest):
    for client in clients.values():
        client.ask(Ask(model="bed/fake-ok", user=f"weather city=Oslo {tag}", **rest))
        client.stream(Ask(model="bed/fake-ok", user=f"weather city=Oslo {tag}", **rest))
    calls = stack.received(tag)
    assert len(calls) == 2 * len(clients)
    for call in calls:
        check_body(call["json"], service, call["path"].endswith("-stream"))


def test_fixtures_fit_the_description_of_the_service(service):
    folders = sorted((harness.ROOT / "fixtures" / "bedrock").iterdir())
    checked = 0
    for folder in folders:
        case = json.loads((folder / "case.json").read_text())
        if (folder / "upstream.json").exists():
            check_body(json.loads((folder / "upstream.json").read_text()), service, case["stream"])
            checked += 1
    assert checked > 12


def test_the_fake_is_one_to_amazons_own_client(stack):
    """The fake takes what Amazon's client sends and signs, and is understood by it."""
    client = botocore_client(stack.fake_url)
    messages = [{"role": "user", "content": [{"text": "say: one two three"}]}]
    whole = client.converse(modelId="us.anthropic.claude-fake-ok", messages=messages)
    assert whole["output"]["message"]["content"] == [{"text": "one two three"}]
    assert whole["stopReason"] == "end_turn"
    for name in ("fake-reasoning", "fake-reasoning+chunk-1"):
        events = list(client.converse_stream(modelId=f"us.anthropic.claude-{name}", messages=messages)["stream"])
        deltas = [event["contentBlockDelta"]["delta"] for event in events if "contentBlockDelta" in event]
        assert "".join(delta.get("text", "") for delta in deltas) == "one two three"
        assert any("signature" in delta.get("reasoningContent", {}) for delta in deltas)
        assert "usage" in events[-1]["metadata"]
    with pytest.raises(client.exceptions.ThrottlingException):
        client.converse(modelId="fake-ratelimit", messages=messages)
    with pytest.raises(client.exceptions.ValidationException, match="blank"):
        client.converse(modelId="fake-ok", messages=[{"role": "user", "content": [{"text": " "}]}])
    with pytest.raises(botocore.exceptions.EventStreamError, match="model failed"):
        list(client.converse_stream(modelId="fake-error-mid-stream-2", messages=messages)["stream"])


def test_messages_of_the_stream_are_read_by_amazons_parser(stack):
    """Our own writer makes the same bytes: see `crates/wire/tests/pairs/streams.rs`."""
    body = {"messages": [{"role": "user", "content": [{"text": "say: Grüße 漢字"}]}]}
    reply = httpx.post(
        f"{stack.fake_url}/model/fake-ok/converse-stream", json=body, headers={"authorization": "Bearer k"}, timeout=5
    )
    for size in (1, 7, len(reply.content)):
        buffer = EventStreamBuffer()
        events = []
        for start in range(0, len(reply.content), size):
            buffer.add_data(reply.content[start : start + size])
            events.extend(buffer)
        kinds = [event.headers[":event-type"] for event in events]
        assert kinds[0] == "messageStart" and kinds[-2:] == ["messageStop", "metadata"]
        assert all(event.headers[":message-type"] == "event" for event in events)
        payloads = [json.loads(event.payload) for event in events if event.headers[":event-type"] == "contentBlockDelta"]
        assert "".join(payload["delta"]["text"] for payload in payloads) == "Grüße 漢字"
