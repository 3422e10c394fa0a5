"""anthropic-python: messages with a tool, streamed and not, and its error classes."""

import anthropic

import arguments

args = arguments.read()
client = anthropic.Anthropic(base_url=args.base_url, api_key=args.key, max_retries=0, timeout=20)
TOOLS = [{"name": "get_capital", "description": "d", "input_schema": arguments.PARAMETERS}]


def streamed():
    messages = [{"role": "user", "content": "What is the capital of France?"}]
    ask = {"model": args.model, "max_tokens": 100, "tools": TOOLS}
    with client.messages.stream(**ask, messages=messages) as stream:
        first = stream.get_final_message()
    call = first.content[-1]
    assert (first.stop_reason, call.name) == ("tool_use", "get_capital"), first
    result = {"type": "tool_result", "tool_use_id": call.id,
              "content": arguments.get_capital(**call.input)}
    messages += [
        {"role": "assistant", "content": [block.to_dict() for block in first.content]},
        {"role": "user", "content": [result]},
    ]
    with client.messages.stream(**ask, messages=messages) as stream:
        said = "".join(stream.text_stream)
        done = stream.get_final_message()
    assert said == " the quick brown fox jumps", said
    assert (done.stop_reason, done.usage.output_tokens) == ("end_turn", 5), done


def whole_answers():
    messages = [{"role": "user", "content": "hi"}]
    answer = client.messages.create(model=args.model, max_tokens=100, messages=messages)
    assert answer.content[0].text == " the quick brown fox jumps", answer
    counted = client.messages.count_tokens(model=args.model, messages=messages)
    assert counted.input_tokens > 0, counted
    assert any(model.id for model in client.models.list())


def errors():
    ask = {"model": args.model, "max_tokens": 5, "messages": [{"role": "user", "content": "hi"}]}
    stranger = client.with_options(api_key=args.bad_key)
    error = arguments.refused(
        anthropic.AuthenticationError, lambda: stranger.messages.create(**ask)
    )
    assert error.body["type"] == "error", error.body
    assert error.body["error"]["type"] == "authentication_error", error.body
    poor = client.with_options(api_key=args.poor_key)
    for stream in (False, True):
        arguments.refused(
            anthropic.RateLimitError, lambda: poor.messages.create(**ask, stream=stream)
        )


streamed()
whole_answers()
errors()
print("anthropic-python", anthropic.__version__, "ok")
