"""anthropic-python: a Message Batch from its making to its results and its end."""

import time

import anthropic

import arguments

args = arguments.read()
client = anthropic.Anthropic(base_url=args.base_url, api_key=args.key, max_retries=0, timeout=20)
batches = client.messages.batches
params = {"model": args.model, "max_tokens": 9, "messages": [{"role": "user", "content": "x"}]}
made = batches.create(requests=[{"custom_id": "r", "params": params}])
assert batches.retrieve(made.id).processing_status == "in_progress"
arguments.refused(anthropic.ConflictError, lambda: batches.delete(made.id))
assert [one.id for one in batches.list(limit=1)] == [made.id]
assert batches.cancel(made.id).processing_status == "canceling"
assert batches.retrieve(made.id).processing_status == "ended"
[line] = batches.results(made.id)
assert (line.custom_id, line.result.type) == ("r", "succeeded"), line
assert line.result.message.content[0].text == "words", line
arguments.refused(anthropic.NotFoundError, lambda: batches.retrieve("msgbatch_other"))
poor = anthropic.Anthropic(base_url=args.base_url, api_key=args.poor_key, max_retries=0, timeout=20)
ask = {"requests": [{"custom_id": "r", "params": params}]}
arguments.refused(anthropic.RateLimitError, lambda: poor.messages.batches.create(**ask))
for _ in range(600):
    try:
        assert batches.delete(made.id).id == made.id
        break
    except anthropic.ConflictError:  # until it is billed
        time.sleep(0.1)
else:
    raise AssertionError("it is not billed")
print("anthropic-python batches", anthropic.__version__, "ok")
