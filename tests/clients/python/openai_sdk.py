"""openai-python: chat and responses with a tool, streamed and not, and its error classes."""

import json

import openai

import arguments

args = arguments.read()
client = openai.OpenAI(base_url=args.base_url + "/v1", api_key=args.key, max_retries=0, timeout=20)
FUNCTION = {"name": "get_capital", "description": "d", "parameters": arguments.PARAMETERS}


def chat_streamed():
    tools = [{"type": "function", "function": FUNCTION}]
    messages = [{"role": "user", "content": "What is the capital of France?"}]
    name, call_id, text, usage = "", "", "", None
    stream = client.chat.completions.create(
        model=args.model,
        messages=messages,
        tools=tools,
        stream=True,
        stream_options={"include_usage": True},
    )
    for chunk in stream:
        usage = chunk.usage or usage
        for choice in chunk.choices:
            for part in choice.delta.tool_calls or []:
                name, call_id = part.function.name or name, part.id or call_id
                text += part.function.arguments or ""
    assert name == "get_capital" and usage.completion_tokens > 0, (name, usage)
    answer = arguments.get_capital(**json.loads(text))
    call = {"id": call_id, "type": "function", "function": {"name": name, "arguments": text}}
    messages += [
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": call_id, "content": answer},
    ]
    stream = client.chat.completions.create(
        model=args.model, messages=messages, tools=tools, stream=True
    )
    chunks = list(stream)
    # Usage was not asked for, and old clients read choices[0] of every chunk.
    assert all(chunk.choices and chunk.usage is None for chunk in chunks), chunks
    said = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
    assert said == " the quick brown fox jumps", said
    assert chunks[-1].choices[0].finish_reason == "stop", chunks[-1]


def responses_streamed():
    tools = [{"type": "function", "strict": False, **FUNCTION}]
    first = "What is the capital of France?"
    with client.responses.stream(model=args.model, input=first, tools=tools) as stream:
        done = stream.until_done().get_final_response()
    call = done.output[0]
    assert (call.type, call.name) == ("function_call", "get_capital"), done
    answer = arguments.get_capital(**json.loads(call.arguments))
    history = [
        {"role": "user", "content": first},
        {"type": "function_call", "call_id": call.call_id, "name": call.name,
         "arguments": call.arguments},
        {"type": "function_call_output", "call_id": call.call_id, "output": answer},
    ]
    with client.responses.stream(model=args.model, input=history, tools=tools) as stream:
        done = stream.until_done().get_final_response()
    assert done.output_text == " the quick brown fox jumps", done
    assert done.usage.output_tokens == 5, done.usage


def whole_answers():
    messages = [{"role": "user", "content": "hi"}]
    raw = client.chat.completions.with_raw_response.create(model=args.model, messages=messages)
    answer = raw.parse()
    assert answer.choices[0].message.content == " the quick brown fox jumps", answer
    assert answer.usage.completion_tokens == 5, answer.usage
    assert client.responses.create(model=args.model, input="hi").status == "completed"
    vectors = client.embeddings.create(model=args.embedding_model, input=["a", "b"])
    assert len(vectors.data) == 2 and len(vectors.data[0].embedding) == 8, vectors
    assert any(model.id for model in client.models.list())


def errors():
    messages = [{"role": "user", "content": "hi"}]
    ask = {"model": args.model, "messages": messages}
    stranger = client.with_options(api_key=args.bad_key)
    error = arguments.refused(
        openai.AuthenticationError, lambda: stranger.chat.completions.create(**ask)
    )
    assert error.status_code == 401 and isinstance(error.body, dict), error
    poor = client.with_options(api_key=args.poor_key)
    for stream in (False, True):
        arguments.refused(
            openai.RateLimitError, lambda: poor.chat.completions.create(**ask, stream=stream)
        )


chat_streamed()
responses_streamed()
whole_answers()
errors()
print("openai-python", openai.__version__, "ok")
