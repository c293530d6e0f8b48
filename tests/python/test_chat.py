"""Text in, text out: on every pair of client and provider."""

import pytest

WORDS = "say: Grüße aus 日本 🙂 and \"quotes\" \\ back\nnew line end"
SAID = WORDS.removeprefix("say: ")

# One red pixel.
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR42mP4z8AAAAMBAQD3A0FDAAAAAElFTkSuQmCC"


def test_a_question_is_answered(pair, send):
    answer = send(pair.ask(user=WORDS))
    assert answer.text == SAID
    assert answer.finish == "stop"
    assert answer.input_tokens > 5 and answer.output_tokens > 5


def test_the_provider_is_spoken_to_in_its_own_dialect(pair, send, stack, tag):
    """The fake answers every dialect, so that only this tells a translation from a pass-through."""
    send(pair.ask(user=tag))
    call = stack.one(tag)
    paths = {"oai": "/chat/completions", "ant": "/v1/messages", "gem": "enerateContent", "bed": "/converse"}
    path = paths[pair.upstream]
    assert call["path"].removesuffix("-stream").endswith(path), call["path"]
    assert call["headers"]["content-type"].startswith("application/json")


def test_instructions_reach_the_model(pair, send):
    answer = send(pair.ask(user="hello", system="Be brief."))
    assert 'You said: "hello".' in answer.text
    assert 'My instructions are: "Be brief."' in answer.text


def test_streamed_and_whole_answers_agree(pair):
    whole = pair.client.ask(pair.ask(user=WORDS))
    streamed = pair.client.stream(pair.ask(user=WORDS))
    assert streamed.text == whole.text
    assert streamed.finish == whole.finish
    assert streamed.pieces > 3, "the answer must arrive in pieces"
    assert (streamed.input_tokens, streamed.output_tokens) == (whole.input_tokens, whole.output_tokens)


@pytest.mark.parametrize("script", ["fake-chunk-1", "fake-chunk-7", "fake-chunk-100", "fake-interval-5"])
def test_any_chunking_gives_the_same_text(pair, script):
    assert pair.client.stream(pair.ask(script, user=WORDS)).text == SAID


def test_comments_of_a_provider_are_no_text(pair):
    assert pair.client.stream(pair.ask("fake-comments", user=WORDS)).text == SAID


# Gemini never sends comments, and its SDK would fail on them; Bedrock's streams have no place for them.
test_comments_of_a_provider_are_no_text.pairs_where = lambda surface, upstream: upstream not in ("gem", "bed")


def test_long_answers_arrive_completely(pair, send):
    answer = send(pair.ask("fake-tokens-2000"))
    assert len(answer.text) == 8000
    assert answer.output_tokens == 2000


def test_a_limit_ends_the_answer(pair, send):
    answer = send(pair.ask(user="say: one two three four five", max_tokens=2))
    assert answer.text == "one two "
    assert answer.finish == "length"


def test_a_stop_sequence_ends_the_answer(pair, send):
    answer = send(pair.ask(user="say: one two STOP three", stops=["STOP"]))
    assert answer.text == "one two "
    assert answer.finish == "stop"


def test_a_picture_reaches_the_model(pair, send, stack, tag):
    answer = send(pair.ask(user=f"look {tag}", image=PIXEL))
    assert "You showed me image/png." in answer.text
    assert PIXEL in stack.one(tag)["body"]


def test_a_model_may_decline(pair, send):
    answer = send(pair.ask("fake-refusal"))
    # OpenAI's refusal is a text of its own kind; other dialects may show it as plain text.
    shown_as_text = pair.upstream == "oai" and answer.text == "I can't help with that."
    assert answer.finish == "refusal" or shown_as_text


def test_an_upstream_without_usage_is_no_error(pair, send):
    assert send(pair.ask("fake-no-usage", user=WORDS)).text == SAID


def test_cached_tokens_are_reported(pair):
    raw = pair.client.ask(pair.ask("fake-cached-1000")).raw
    if pair.client.name == "openai":
        assert raw.usage.prompt_tokens_details.cached_tokens == 1000
        assert raw.usage.prompt_tokens > 1000
    elif pair.client.name == "anthropic":
        assert raw.usage.cache_read_input_tokens == 1000
        assert 0 < raw.usage.input_tokens < 1000
    else:
        assert raw.usage_metadata.cached_content_token_count == 1000
        assert raw.usage_metadata.prompt_token_count > 1000


def test_a_conversation_keeps_its_turns(pair, stack, tag):
    first = pair.client.ask(pair.ask(user=f"say: first {tag}"))
    history = first.history
    if pair.client.name == "gemini":
        from google.genai import types

        history = [*history, types.Content(role="user", parts=[types.Part(text="say: second")])]
        again = pair.client.sdk.models.generate_content(model=pair.model("fake-ok"), contents=history)
        assert again.text == "second"
    elif pair.client.name == "anthropic":
        history = [*history, {"role": "user", "content": "say: second"}]
        again = pair.client.sdk.messages.create(model=pair.model("fake-ok"), messages=history, max_tokens=99)
        assert again.content[0].text == "second"
    else:
        history = [*history, {"role": "user", "content": "say: second"}]
        again = pair.client.sdk.chat.completions.create(model=pair.model("fake-ok"), messages=history)
        assert again.choices[0].message.content == "second"
    # Both the question and the answer of the first turn.
    assert stack.received(tag)[-1]["body"].count(tag) == 2


def only_openai_sdk(surface, upstream):
    return surface == "openai"


def openai_to_openai(surface, upstream):
    return surface == "openai" and upstream == "oai"


def test_several_choices(pair):
    raw = pair.client.sdk.chat.completions.create(
        model=pair.model("fake-ok"), messages=[{"role": "user", "content": "say: x y"}], n=2
    )
    assert [choice.message.content for choice in raw.choices] == ["x y", "x y"]
    stream = pair.client.sdk.chat.completions.create(
        model=pair.model("fake-ok"), messages=[{"role": "user", "content": "say: x y"}], n=2, stream=True
    )
    texts = {0: "", 1: ""}
    for chunk in stream:
        for choice in chunk.choices:
            texts[choice.index] += choice.delta.content or ""
    assert texts == {0: "x y", 1: "x y"}


test_several_choices.pairs_where = openai_to_openai


def test_logprobs(pair):
    raw = pair.client.sdk.chat.completions.create(
        model=pair.model("fake-ok"), messages=[{"role": "user", "content": "say: x y"}], logprobs=True, top_logprobs=2
    )
    tokens = raw.choices[0].logprobs.content
    assert [token.token for token in tokens] == ["x ", "y"]
    assert tokens[0].logprob == -0.125


test_logprobs.pairs_where = openai_to_openai


def test_legacy_completions(pair):
    create = pair.client.sdk.completions.create
    assert create(model=pair.model("fake-ok"), prompt="say: old").choices[0].text == "old"
    pieces = create(model=pair.model("fake-ok"), prompt="say: old and slow", stream=True)
    assert "".join(piece.choices[0].text for piece in pieces if piece.choices) == "old and slow"


test_legacy_completions.pairs_where = only_openai_sdk


def test_reasoning_is_shown(pair, send):
    answer = send(pair.ask("fake-reasoning", user="say: x"))
    assert answer.reasoning.startswith("The user wrote")
    assert answer.text == "x"


test_reasoning_is_shown.pairs_where = only_openai_sdk
