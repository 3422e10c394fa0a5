"""Command line shared by the client scripts, and the tool that every conversation uses."""

import argparse


def read():
    parser = argparse.ArgumentParser()
    for name in ("base-url", "key", "bad-key", "poor-key", "model", "embedding-model"):
        parser.add_argument("--" + name, required=True)
    return parser.parse_args()


PARAMETERS = {
    "type": "object",
    "properties": {"country": {"type": "string", "description": "Name of the country"}},
    "required": ["country"],
}


def get_capital(country):
    assert country == "Paris", country  # what the fake model says for any text
    return "The capital of France"


def refused(error_class, call):
    """Calls and expects this class of error, or LangChain's refinement of it."""
    try:
        call()
    except Exception as error:
        assert isinstance(error, error_class), f"{type(error)} instead of {error_class}: {error}"
        return error
    raise AssertionError(f"no {error_class}")
