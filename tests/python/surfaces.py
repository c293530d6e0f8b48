"""The official SDKs behind one small interface, so that one test runs on every pair of client and provider."""

import json
from dataclasses import dataclass, field
from typing import Any

import anthropic
import openai
from google import genai
from google.genai import errors as genai_errors
from google.genai import types

TIMEOUT = 10.0

TOOLS = {
    "weather": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    "clock": {
        "type": "object",
        "properties": {"zone": {"type": "string"}, "hours": {"type": "integer"}},
        "required": ["zone", "hours"],
    },
}


@dataclass
class ToolCall:
    id: str | None
    name: str
    arguments: dict


@dataclass
class Answer:
    text: str
    finish: str
    input_tokens: int = 0
    output_tokens: int = 0
    calls: list[ToolCall] = field(default_factory=list)
    reasoning: str = ""
    pieces: int = 1
    # The conversation so far in the SDK's own words, this answer included.
    history: list[Any] = field(default_factory=list)
    raw: Any = None


@dataclass
class Ask:
    model: str
    user: str = "hi"
    system: str | None = None
    image: str | None = None
    stops: list[str] | None = None
    max_tokens: int = 4096
    tools: list[str] = field(default_factory=list)
    # None, "any", or a tool's name.
    force: str | None = None
    schema: dict | None = None
    thinking: bool = False
    # A previous answer and, by call, what its tools returned.
    after: Answer | None = None
    results: list[str] = field(default_factory=list)


class OpenAi:
    name = "openai"
    upstream = "oai"

    def __init__(self, url: str, key: str):
        self.sdk = openai.OpenAI(base_url=f"{url}/v1", api_key=key, max_retries=0, timeout=TIMEOUT)

    status_error = openai.APIStatusError
    any_error = openai.APIError
    classes = {
        401: openai.AuthenticationError,
        400: openai.BadRequestError,
        404: openai.NotFoundError,
        429: openai.RateLimitError,
        500: openai.InternalServerError,
    }

    def arguments(self, ask: Ask) -> dict:
        messages: list[Any] = list(ask.after.history) if ask.after else []
        if ask.after:
            for call, result in zip(ask.after.calls, ask.results, strict=True):
                messages.append({"role": "tool", "tool_call_id": call.id, "content": result})
        else:
            if ask.system:
                messages.append({"role": "system", "content": ask.system})
            content: Any = ask.user
            if ask.image:
                url = {"url": f"data:image/png;base64,{ask.image}"}
                content = [{"type": "text", "text": ask.user}, {"type": "image_url", "image_url": url}]
            messages.append({"role": "user", "content": content})
        out: dict[str, Any] = {"model": ask.model, "messages": messages, "max_completion_tokens": ask.max_tokens}
        if ask.stops:
            out["stop"] = ask.stops
        if ask.tools:
            out["tools"] = [
                {"type": "function", "function": {"name": name, "description": f"The {name}.", "parameters": TOOLS[name]}}
                for name in ask.tools
            ]
        if ask.force == "any":
            out["tool_choice"] = "required"
        elif ask.force:
            out["tool_choice"] = {"type": "function", "function": {"name": ask.force}}
        if ask.schema:
            schema = {"name": "answer", "strict": True, "schema": ask.schema}
            out["response_format"] = {"type": "json_schema", "json_schema": schema}
        if ask.thinking:
            out["reasoning_effort"] = "low"
        return out

    def ask(self, ask: Ask) -> Answer:
        out = self.arguments(ask)
        raw = self.sdk.chat.completions.create(**out)
        choice = raw.choices[0]
        message = choice.message
        calls = [ToolCall(c.id, c.function.name, json.loads(c.function.arguments)) for c in message.tool_calls or []]
        return Answer(
            text=message.content or "",
            finish="refusal" if message.refusal else FINISH[choice.finish_reason],
            input_tokens=raw.usage.prompt_tokens if raw.usage else 0,
            output_tokens=raw.usage.completion_tokens if raw.usage else 0,
            calls=calls,
            reasoning=getattr(message, "reasoning_content", None) or "",
            history=[*out["messages"], message.model_dump(exclude_none=True)],
            raw=raw,
        )

    def stream(self, ask: Ask) -> Answer:
        out = self.arguments(ask)
        answer = Answer("", "", pieces=0)
        calls: dict[int, dict] = {}
        refusal = ""
        stream = self.sdk.chat.completions.create(**out, stream=True, stream_options={"include_usage": True})
        for chunk in stream:
            if chunk.usage:
                answer.input_tokens, answer.output_tokens = chunk.usage.prompt_tokens, chunk.usage.completion_tokens
            for choice in chunk.choices:
                delta = choice.delta
                answer.text += delta.content or ""
                answer.pieces += bool(delta.content)
                answer.reasoning += getattr(delta, "reasoning_content", None) or ""
                refusal += delta.refusal or ""
                for part in delta.tool_calls or []:
                    call = calls.setdefault(part.index, {"id": None, "name": "", "arguments": ""})
                    call["id"] = call["id"] or part.id
                    call["name"] += part.function.name or ""
                    call["arguments"] += part.function.arguments or ""
                if choice.finish_reason:
                    answer.finish = FINISH[choice.finish_reason]
        if refusal:
            answer.finish = "refusal"
        answer.calls = [ToolCall(c["id"], c["name"], json.loads(c["arguments"])) for c in calls.values()]
        # A plain client keeps nothing of a call but its id, name and arguments.
        message: dict[str, Any] = {"role": "assistant", "content": answer.text or None}
        if calls:
            message["tool_calls"] = [
                {"id": c["id"], "type": "function", "function": {"name": c["name"], "arguments": c["arguments"]}}
                for c in calls.values()
            ]
        answer.history = [*out["messages"], message]
        return answer

    def open_stream(self, ask: Ask):
        """An iterator over the text pieces, and what closes the connection."""
        stream = self.sdk.chat.completions.create(**self.arguments(ask), stream=True)
        texts = (choice.delta.content for chunk in stream for choice in chunk.choices if choice.delta.content)
        return texts, stream.close

    def models(self) -> list[str]:
        return [model.id for model in self.sdk.models.list()]


class Anthropic:
    name = "anthropic"
    upstream = "ant"

    def __init__(self, url: str, key: str):
        self.sdk = anthropic.Anthropic(base_url=url, api_key=key, max_retries=0, timeout=TIMEOUT)

    status_error = anthropic.APIStatusError
    any_error = anthropic.APIError
    classes = {
        401: anthropic.AuthenticationError,
        400: anthropic.BadRequestError,
        404: anthropic.NotFoundError,
        429: anthropic.RateLimitError,
        500: anthropic.InternalServerError,
    }

    def arguments(self, ask: Ask) -> dict:
        messages: list[Any] = list(ask.after.history) if ask.after else []
        if ask.after:
            results = [
                {"type": "tool_result", "tool_use_id": call.id, "content": result}
                for call, result in zip(ask.after.calls, ask.results, strict=True)
            ]
            messages.append({"role": "user", "content": results})
        else:
            content: Any = ask.user
            if ask.image:
                source = {"type": "base64", "media_type": "image/png", "data": ask.image}
                content = [{"type": "text", "text": ask.user}, {"type": "image", "source": source}]
            messages.append({"role": "user", "content": content})
        out: dict[str, Any] = {"model": ask.model, "messages": messages, "max_tokens": ask.max_tokens}
        if ask.system:
            out["system"] = ask.system
        if ask.stops:
            out["stop_sequences"] = ask.stops
        if ask.tools:
            out["tools"] = [
                {"name": name, "description": f"The {name}.", "input_schema": TOOLS[name]} for name in ask.tools
            ]
        if ask.force == "any":
            out["tool_choice"] = {"type": "any"}
        elif ask.force:
            out["tool_choice"] = {"type": "tool", "name": ask.force}
        if ask.schema:
            out["output_config"] = {"format": {"type": "json_schema", "schema": ask.schema}}
        if ask.thinking:
            out["thinking"] = {"type": "enabled", "budget_tokens": 1024}
        return out

    def answer(self, out: dict, raw, pieces: int) -> Answer:
        texts = [block.text for block in raw.content if block.type == "text"]
        thoughts = [block.thinking for block in raw.content if block.type == "thinking"]
        calls = [ToolCall(b.id, b.name, b.input) for b in raw.content if b.type == "tool_use"]
        content = [block.model_dump(exclude_none=True) for block in raw.content]
        return Answer(
            text="".join(texts),
            finish=FINISH[raw.stop_reason],
            input_tokens=raw.usage.input_tokens,
            output_tokens=raw.usage.output_tokens,
            calls=calls,
            reasoning="".join(thoughts),
            pieces=pieces,
            history=[*out["messages"], {"role": "assistant", "content": content}],
            raw=raw,
        )

    def ask(self, ask: Ask) -> Answer:
        out = self.arguments(ask)
        return self.answer(out, self.sdk.messages.create(**out), 1)

    def stream(self, ask: Ask) -> Answer:
        out = self.arguments(ask)
        pieces, text = 0, ""
        with self.sdk.messages.stream(**out) as stream:
            for event in stream:
                if event.type == "content_block_delta" and event.delta.type == "text_delta":
                    pieces += 1
                    text += event.delta.text
            answer = self.answer(out, stream.get_final_message(), pieces)
        assert text == answer.text
        return answer

    def open_stream(self, ask: Ask):
        stream = self.sdk.messages.create(**self.arguments(ask), stream=True)
        texts = (event.delta.text for event in stream if event.type == "content_block_delta" and event.delta.type == "text_delta")
        return texts, stream.close

    def models(self) -> list[str]:
        return [model.id for model in self.sdk.models.list()]

    def count(self, ask: Ask) -> int:
        out = self.arguments(ask)
        del out["max_tokens"]
        return self.sdk.messages.count_tokens(**out).input_tokens


class Gemini:
    name = "gemini"
    upstream = "gem"

    def __init__(self, url: str, key: str):
        options = types.HttpOptions(base_url=url, api_version="v1beta", timeout=int(TIMEOUT * 1000))
        self.sdk = genai.Client(api_key=key, vertexai=False, http_options=options)

    status_error = genai_errors.APIError
    any_error = genai_errors.APIError
    classes = {
        401: genai_errors.ClientError,
        400: genai_errors.ClientError,
        404: genai_errors.ClientError,
        429: genai_errors.ClientError,
        500: genai_errors.ServerError,
    }

    def arguments(self, ask: Ask) -> dict:
        contents: list[Any] = list(ask.after.history) if ask.after else []
        if ask.after:
            parts = []
            for call, result in zip(ask.after.calls, ask.results, strict=True):
                response = types.FunctionResponse(id=call.id, name=call.name, response={"result": result})
                parts.append(types.Part(function_response=response))
            contents.append(types.Content(role="user", parts=parts))
        else:
            parts = [types.Part(text=ask.user)]
            if ask.image:
                import base64

                parts.append(types.Part.from_bytes(data=base64.b64decode(ask.image), mime_type="image/png"))
            contents.append(types.Content(role="user", parts=parts))
        config: dict[str, Any] = {"max_output_tokens": ask.max_tokens}
        if ask.system:
            config["system_instruction"] = ask.system
        if ask.stops:
            config["stop_sequences"] = ask.stops
        if ask.tools:
            functions = [
                types.FunctionDeclaration(name=name, description=f"The {name}.", parameters=upper(TOOLS[name]))
                for name in ask.tools
            ]
            config["tools"] = [types.Tool(function_declarations=functions)]
        if ask.force:
            names = None if ask.force == "any" else [ask.force]
            calling = types.FunctionCallingConfig(mode="ANY", allowed_function_names=names)
            config["tool_config"] = types.ToolConfig(function_calling_config=calling)
        if ask.schema:
            config["response_mime_type"] = "application/json"
            config["response_json_schema"] = ask.schema
        if ask.thinking:
            config["thinking_config"] = types.ThinkingConfig(include_thoughts=True, thinking_budget=1024)
        return {"model": ask.model, "contents": contents, "config": types.GenerateContentConfig(**config)}

    def answer(self, out: dict, chunks: list) -> Answer:
        answer = Answer("", "", pieces=0)
        parts = []
        for chunk in chunks:
            if chunk.usage_metadata:
                usage = chunk.usage_metadata
                answer.input_tokens = usage.prompt_token_count or 0
                answer.output_tokens = (usage.candidates_token_count or 0) + (usage.thoughts_token_count or 0)
            for candidate in chunk.candidates or []:
                if candidate.finish_reason:
                    answer.finish = FINISH[candidate.finish_reason.value]
                parts.extend((candidate.content and candidate.content.parts) or [])
        for part in parts:
            if part.function_call:
                call = part.function_call
                answer.calls.append(ToolCall(call.id, call.name, dict(call.args or {})))
            elif part.text and part.thought:
                answer.reasoning += part.text
            elif part.text:
                answer.text += part.text
                answer.pieces += 1
        if answer.calls and answer.finish == "stop":
            answer.finish = "tools"
        answer.history = [*out["contents"], types.Content(role="model", parts=parts)]
        answer.raw = chunks[-1] if chunks else None
        return answer

    def ask(self, ask: Ask) -> Answer:
        out = self.arguments(ask)
        return self.answer(out, [self.sdk.models.generate_content(**out)])

    def stream(self, ask: Ask) -> Answer:
        out = self.arguments(ask)
        return self.answer(out, list(self.sdk.models.generate_content_stream(**out)))

    def open_stream(self, ask: Ask):
        stream = self.sdk.models.generate_content_stream(**self.arguments(ask))
        texts = (chunk.text for chunk in stream if chunk.text)
        return texts, stream.close

    def models(self) -> list[str]:
        return [model.name.removeprefix("models/") for model in self.sdk.models.list()]

    def count(self, ask: Ask) -> int:
        out = self.arguments(ask)
        return self.sdk.models.count_tokens(model=out["model"], contents=out["contents"]).total_tokens


def upper(schema: dict) -> dict:
    """The schema in Gemini's own dialect, with upper-case types."""
    out = dict(schema)
    out["type"] = schema["type"].upper()
    if "properties" in schema:
        out["properties"] = {name: upper(inner) for name, inner in schema["properties"].items()}
    return out


FINISH = {
    "stop": "stop", "length": "length", "tool_calls": "tools", "content_filter": "refusal",
    "end_turn": "stop", "stop_sequence": "stop", "max_tokens": "length", "tool_use": "tools", "refusal": "refusal",
    "STOP": "stop", "MAX_TOKENS": "length", "SAFETY": "refusal", "PROHIBITED_CONTENT": "refusal",
}

SURFACES = {surface.name: surface for surface in (OpenAi, Anthropic, Gemini)}


def status_of(error: Exception) -> int:
    """The HTTP status an SDK's error carries."""
    return getattr(error, "status_code", None) or error.code
