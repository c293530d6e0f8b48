"""Tool calls, single and parallel, streamed and not, and the turn after them."""

import json
import re

import pytest
from pydantic import BaseModel

from surfaces import OpenAi


def said(answer) -> str:
    """The text; other providers get the object that Gemini's results are as JSON."""
    return re.sub(r'\{"result": ?"(.*?)"\}', r"\1", answer.text)


def test_one_tool_call_and_its_result(pair, send):
    ask = pair.ask(user="the weather for city=Oslo please", tools=["weather", "clock"])
    first = send(ask)
    assert first.finish == "tools"
    assert [(call.name, call.arguments) for call in first.calls] == [("weather", {"city": "Oslo"})]
    ask.after, ask.results = first, ["3C"]
    second = send(ask)
    assert said(second) == "The tool weather says: 3C"
    assert second.finish == "stop"
    assert not second.calls


def test_parallel_tool_calls_and_their_results(pair, send):
    ask = pair.ask(user="weather city=Oslo, clock zone=CET hours=3", tools=["weather", "clock"])
    first = send(ask)
    assert [(call.name, call.arguments) for call in first.calls] == [
        ("weather", {"city": "Oslo"}),
        ("clock", {"zone": "CET", "hours": 3}),
    ]
    ids = [call.id for call in first.calls]
    assert len(set(ids)) == 2 or ids == [None, None]
    ask.after, ask.results = first, ["3C", "noon"]
    assert said(send(ask)) == "The tool weather says: 3C\nThe tool clock says: noon"


@pytest.mark.parametrize("force", ["any", "clock"])
def test_a_tool_can_be_forced(pair, send, force):
    answer = send(pair.ask(user="hello", tools=["weather", "clock"], force=force))
    assert [call.name for call in answer.calls] == ["weather" if force == "any" else "clock"]


def test_tool_calls_survive_any_chunking(pair):
    answer = pair.client.stream(pair.ask("fake-chunk-3", user="weather city=Zürich🙂", tools=["weather"]))
    assert answer.calls[0].arguments == {"city": "Zürich🙂"}


def thinking_upstreams(surface, upstream):
    return upstream in ("ant", "gem", "bed")


def test_signatures_survive_a_tool_turn(pair, send):
    """The provider refuses the second turn unless its signature comes back unchanged."""
    model = {"ant": "claude-haiku-4-5", "gem": "gemini-3.1-pro-preview", "bed": "haiku-4-5"}[pair.upstream]
    ask = pair.ask(model, user="weather city=Oslo", tools=["weather"], thinking=True)
    first = send(ask)
    assert first.calls and first.reasoning
    ask.after, ask.results = first, ["3C"]
    assert said(send(ask)) == "The tool weather says: 3C"


test_signatures_survive_a_tool_turn.pairs_where = thinking_upstreams

SCHEMA = {
    "type": "object",
    "properties": {
        "city": {"type": "string"},
        "days": {"type": "array", "items": {"type": "integer"}},
        "unit": {"type": "string", "enum": ["c", "f"]},
    },
    "required": ["city", "days", "unit"],
    "additionalProperties": False,
}


def test_an_answer_follows_its_schema(pair, send):
    answer = send(pair.ask(user="city=Oslo unit=f", schema=SCHEMA))
    assert json.loads(answer.text) == {"city": "Oslo", "days": [1], "unit": "f"}
    assert answer.finish == "stop"
    assert not answer.calls


class Trip(BaseModel):
    city: str
    days: int
    notes: list[str]


def only_openai_sdk(surface, upstream):
    return surface == "openai"


def only_gemini_sdk(surface, upstream):
    return surface == "gemini"


def test_openai_parses_into_a_class(pair):
    client: OpenAi = pair.client
    parsed = client.sdk.chat.completions.parse(
        model=pair.model("fake-ok"), messages=[{"role": "user", "content": "city=Oslo days=3"}], response_format=Trip
    )
    assert parsed.choices[0].message.parsed == Trip(city="Oslo", days=3, notes=["sample notes"])


test_openai_parses_into_a_class.pairs_where = only_openai_sdk


def test_gemini_parses_into_a_class(pair):
    config = {"response_mime_type": "application/json", "response_schema": Trip}
    raw = pair.client.sdk.models.generate_content(model=pair.model("fake-ok"), contents="city=Oslo days=3", config=config)
    assert raw.parsed == Trip(city="Oslo", days=3, notes=["sample notes"])


test_gemini_parses_into_a_class.pairs_where = only_gemini_sdk
