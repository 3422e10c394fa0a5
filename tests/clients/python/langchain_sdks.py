"""LangChain: both chat models with a bound tool, streamed and not. `--model` is `openai,claude`."""

import anthropic
import openai
from langchain_anthropic import ChatAnthropic
from langchain_core.messages import HumanMessage, ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI

import arguments

args = arguments.read()


@tool
def get_capital(country: str) -> str:
    """Tells the capital of a country."""
    return arguments.get_capital(country)


def text(message):
    if isinstance(message.content, str):
        return message.content
    return "".join(block.get("text", "") for block in message.content)


def conversation(model):
    bound = model.bind_tools([get_capital])
    messages = [HumanMessage("What is the capital of France?")]
    whole = None
    for chunk in bound.stream(messages):
        whole = chunk if whole is None else whole + chunk
    (call,) = whole.tool_calls
    assert call["name"] == "get_capital", whole
    messages += [whole, ToolMessage(get_capital.invoke(call["args"]), tool_call_id=call["id"])]
    said = "".join(text(chunk) for chunk in bound.stream(messages))
    assert said == " the quick brown fox jumps", said
    answer = model.invoke("hi")
    assert text(answer) == " the quick brown fox jumps", answer
    assert answer.usage_metadata["output_tokens"] == 5, answer.usage_metadata


def check(make, error_module):
    conversation(make(args.key))
    for key, error in (
        (args.bad_key, error_module.AuthenticationError),
        (args.poor_key, error_module.RateLimitError),
    ):
        arguments.refused(error, lambda: make(key).invoke("hi"))


openai_model, claude_model = args.model.split(",")
check(
    lambda key: ChatOpenAI(
        model=openai_model, base_url=args.base_url + "/v1", api_key=key, max_retries=0, timeout=20
    ),
    openai,
)
check(
    lambda key: ChatAnthropic(
        model=claude_model, base_url=args.base_url, api_key=key, max_retries=0, timeout=20
    ),
    anthropic,
)
print("langchain ok")
