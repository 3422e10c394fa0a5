"""anthropic-python: files from their upload to their end, and a message that names one."""

import anthropic

import arguments

args = arguments.read()
client = anthropic.Anthropic(base_url=args.base_url, api_key=args.key, max_retries=0, timeout=20)
stranger = client.with_options(api_key=args.poor_key)
LOADS = [("notes.txt", b"words %d" % number, "text/plain") for number in range(5)]


def of(files, theirs):
    made = [files.upload(file=load).id for load in LOADS]
    assert [one.id for one in files.list(limit=2)] == made[::-1]
    kept = files.retrieve_metadata(made[0])
    assert (kept.id, kept.type) == (made[0], "file"), kept
    assert list(theirs.list()) == []
    for refused in (
        lambda: theirs.retrieve_metadata(made[0]),
        lambda: theirs.download(made[0]),
        lambda: theirs.delete(made[0]),
        lambda: files.retrieve_metadata("file_none"),
    ):
        arguments.refused(anthropic.NotFoundError, refused)
    # What was uploaded cannot be downloaded: the provider's own words.
    arguments.refused(anthropic.BadRequestError, lambda: files.download(made[0]))
    for one in made[1:]:
        assert files.delete(one).type == "file_deleted"
    assert [one.id for one in files.list()] == made[:1]
    return made[0]


file = of(client.files, stranger.files)
document = {"type": "document", "source": {"type": "file", "file_id": file}}
ask = {"model": args.model, "messages": [{"role": "user", "content": [document]}]}
assert client.messages.create(max_tokens=9, **ask).content[0].text == "seen"
written = client.messages.create(max_tokens=77, **ask).content[0].content.content[0].file_id
assert client.files.download(written).read() == b"written by code"
arguments.refused(anthropic.NotFoundError, lambda: stranger.files.download(written))
for one in (file, written):
    client.files.delete(one)
of(client.beta.files, stranger.beta.files)
print("anthropic-python files", anthropic.__version__, "ok")
