"""The Responses API of the OpenAI SDK, which agents such as Codex use, on every provider's dialect."""

import json

import openai
import pytest

from surfaces import TOOLS


def only_openai_sdk(surface, upstream):
    return surface == "openai"


def functions(*names: str) -> list[dict]:
    return [{"type": "function", "name": name, "parameters": TOOLS[name], "strict": False} for name in names]


@pytest.fixture
def respond(pair, mode):
    """Makes a response, whole or streamed; a stream is folded by the SDK and compared with its deltas."""

    def whole(**rest):
        rest = {"store": False, **rest}
        return pair.client.sdk.responses.create(model=pair.model(rest.pop("script", "fake-ok")), **rest)

    def streamed(**rest):
        text, kinds = "", []
        rest = {"store": False, **rest}
        with pair.client.sdk.responses.stream(model=pair.model(rest.pop("script", "fake-ok")), **rest) as stream:
            for event in stream:
                kinds.append(event.type)
                if event.type == "response.output_text.delta":
                    text += event.delta
            # The SDK's own `get_final_response` knows complete answers only.
            final = event.response
        assert kinds[0] == "response.created"
        assert kinds[-1] in ("response.completed", "response.incomplete")
        assert text == final.output_text
        return final

    return whole if mode == "whole" else streamed


def test_an_input_is_answered(respond):
    response = respond(input="say: Grüße 🙂", instructions="Be brief.")
    assert response.output_text == "Grüße 🙂"
    assert response.status == "completed"
    assert response.usage.input_tokens > 3 and response.usage.output_tokens > 0


def test_instructions_reach_the_model(respond):
    assert 'My instructions are: "Be brief."' in respond(input="hello", instructions="Be brief.").output_text


def test_a_limit_makes_it_incomplete(respond):
    response = respond(input="say: one two three four five six", max_output_tokens=2)
    assert response.output_text == "one two "
    assert response.status == "incomplete"
    assert response.incomplete_details.reason == "max_output_tokens"


def test_tool_calls_and_their_outputs(respond):
    conversation = [{"role": "user", "content": "weather city=Oslo, clock zone=CET hours=3"}]
    tools = functions("weather", "clock")
    first = respond(input=conversation, tools=tools)
    calls = [item for item in first.output if item.type == "function_call"]
    assert [(call.name, json.loads(call.arguments)) for call in calls] == [
        ("weather", {"city": "Oslo"}),
        ("clock", {"zone": "CET", "hours": 3}),
    ]
    conversation += [item.model_dump(exclude_none=True) for item in first.output]
    for call, output in zip(calls, ["3C", "noon"], strict=True):
        conversation.append({"type": "function_call_output", "call_id": call.call_id, "output": output})
    second = respond(input=conversation, tools=tools)
    assert second.output_text == "The tool weather says: 3C\nThe tool clock says: noon"


def test_reasoning_survives_a_tool_turn(pair, respond):
    """The provider refuses the second turn unless its encrypted reasoning or signature comes back unchanged."""
    scripts = {"oai": "fake-ok", "ant": "claude-haiku-4-5", "gem": "gemini-3.1-pro-preview", "bed": "haiku-4-5"}
    script = scripts[pair.upstream]
    rest = {
        "script": script, "tools": functions("weather"), "reasoning": {"effort": "low", "summary": "auto"},
        "include": ["reasoning.encrypted_content"],
    }
    conversation = [{"role": "user", "content": "weather city=Oslo"}]
    first = respond(input=conversation, **rest)
    (call,) = [item for item in first.output if item.type == "function_call"]
    assert any(item.type == "reasoning" and item.summary for item in first.output)
    conversation += [item.model_dump(exclude_none=True, exclude={"parsed_arguments"}) for item in first.output]
    conversation.append({"type": "function_call_output", "call_id": call.call_id, "output": "3C"})
    assert respond(input=conversation, **rest).output_text == "The tool weather says: 3C"


def test_an_answer_follows_its_schema(respond):
    schema = {
        "type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"], "additionalProperties": False,
    }
    form = {"format": {"type": "json_schema", "name": "answer", "strict": True, "schema": schema}}
    assert json.loads(respond(input="city=Oslo", text=form).output_text) == {"city": "Oslo"}


@pytest.mark.parametrize("status", [400, 429, 500])
def test_upstream_errors_become_the_sdks_exceptions(respond, status):
    classes = {400: openai.BadRequestError, 429: openai.RateLimitError, 500: openai.InternalServerError}
    with pytest.raises(classes[status]):
        respond(input="hi", script=f"fake-error-{status}")


def test_a_failure_in_a_stream_is_reported(pair):
    """As an exception, or as the API's own `response.failed`: never as a complete answer."""
    stream = pair.client.sdk.responses.create(
        model=pair.model("fake-error-mid-stream-6"), input="say: a b c d e f g h", stream=True, store=False
    )
    kinds = []
    try:
        kinds.extend(event.type for event in stream)
    except openai.APIError:
        kinds.append("error")
    assert kinds[-1] in ("error", "response.failed"), kinds


@pytest.mark.gateway
def test_a_conversation_goes_on_from_its_last_response(pair, respond):
    """What was said before is the gateway's to remember, whoever serves the model."""
    sdk = pair.client.sdk.responses
    tools = functions("weather", "clock")
    first = respond(input="weather city=Oslo, clock zone=CET hours=3", tools=tools, store=True)
    calls = [item for item in first.output if item.type == "function_call"]
    outputs = [{"type": "function_call_output", "call_id": call.call_id, "output": call.name} for call in calls]
    second = respond(input=outputs, tools=tools, store=True, previous_response_id=first.id)
    assert second.output_text == "The tool weather says: weather\nThe tool clock says: clock"
    assert second.previous_response_id == first.id
    third = respond(input="say: enough", store=True, previous_response_id=second.id)

    kept = sdk.retrieve(third.id)
    assert (kept.id, kept.output_text, kept.status) == (third.id, "enough", "completed")
    items = list(sdk.input_items.list(third.id, order="asc", limit=2))
    kinds = [item.type for item in items if item.type != "reasoning"]
    assert kinds == ["message", *["function_call"] * 2, *["function_call_output"] * 2, "message", "message"]
    assert len({item.id for item in items}) == len(items)
    sdk.delete(third.id)
    with pytest.raises(openai.NotFoundError):
        sdk.retrieve(third.id)
    with pytest.raises(openai.BadRequestError, match="not found"):
        respond(input="hi", previous_response_id=third.id)
    with pytest.raises(openai.BadRequestError, match="background"):
        sdk.cancel(second.id)


@pytest.mark.gateway
def test_tokens_are_counted(pair):
    counted = pair.client.sdk.responses.input_tokens.count(model=pair.model("fake-ok"), input="a few words")
    assert counted.object == "response.input_tokens" and counted.input_tokens >= 3


for name, value in list(globals().items()):
    if name.startswith("test_"):
        value.pairs_where = only_openai_sdk
