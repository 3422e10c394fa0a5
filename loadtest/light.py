#!/usr/bin/env python3
"""Latency and streams through each peer, asked by a client that costs little itself.

    loadtest/light.py chats --rate 1000        added latency of a 1 KB chat in an open loop
    loadtest/light.py streams --streams 500    time to the first text, CPU of a chunk, the longest silence
    loadtest/light.py streams --burst          all streams begin in the same moment
    loadtest/light.py streams --dense --streams 100     five times the chunks, so that beginnings hardly count

k6 needs more CPU for a stream than what it measures, on the same cores: this client is one thread over epoll, with
connections that stand before the clock runs. The provider alone, nginx, a bare Pingora and the gateway are asked in
turn, `--rounds` times; core 0 is the peer's, client and provider have core 1. Figures are medians of the rounds.
"""
import argparse
import gc
import json
import os
import select
import socket
import statistics
import sys
import time

import costs
import run

# Names in the gateway and with the provider: 50 chunks, one each 100 ms; 250, one each 20 ms.
SLOW = "slow-stream", "fake+tokens=50+chunk_ms=100"
DENSE = "dense-stream", "fake+tokens=250+chunk_ms=20"
STREAM_S = 5
# How the last event of a stream ends, where it has a word of its own.
ENDS = {"chat": b"[DONE]", "messages": b"message_stop", "responses": b""}
# What the first event with text has in it. The one before it says who speaks, and the gateway waits for what follows:
# as long as nothing was said, another deployment can answer instead.
FIRST_TEXT = b'"delta":{"content":"', b'"text_delta"', b"output_text.delta"


def has_text(data):
    return any(text in data for text in FIRST_TEXT)


def question(port, key, model, **more):
    fields = {"model": model, "messages": [{"role": "user", "content": "x" * 900}], **more}
    return asking(port, key, "/v1/chat/completions", fields)


def asking(port, key, path, fields):
    body = json.dumps(fields).encode()
    return (f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nAuthorization: Bearer {key}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n").encode() + body


def percentile(values, share):
    values = sorted(values)
    return values[min(len(values) - 1, int(len(values) * share))] if values else float("nan")


class One:
    """One connection and what it waits for."""

    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.setblocking(False)
        self.idle()

    def idle(self):
        self.sent = None
        self.first = self.last = None
        self.gap = 0.0
        self.tail = b""
        self.chunks = 0

    def ask(self, request):
        self.idle()
        self.sent = self.last = time.perf_counter()
        if self.socket.send(request) != len(request):
            sys.exit("a request did not fit into the socket")

    def read(self):
        data = self.socket.recv(65536)
        now = time.perf_counter()
        if not data:
            sys.exit("the peer closed a connection")
        if self.last == self.sent:
            if not data.startswith(b"HTTP/1.1 200"):
                sys.exit(f"not served: {data[:300]!r}")
        if self.first is not None:
            self.gap = max(self.gap, now - self.last)
        elif has_text(data):
            self.first = now
        self.last = now
        self.chunks += data.count(b"data: ")
        self.tail = (self.tail + data)[-32:]
        return data


def wait(poll, connections, until):
    """Reads what has come until this time; every read connection is yielded."""
    timeout = max(0.0, until - time.perf_counter())
    for fd, _ in poll.poll(timeout):
        one = connections[fd]
        one.read()
        yield one


def connect(port, count):
    poll, connections = select.epoll(), {}
    for _ in range(count):
        one = One(port)
        connections[one.socket.fileno()] = one
        poll.register(one.socket, select.EPOLLIN)
    return poll, connections


def chats(port, key, model, args):
    """Milliseconds from a request to its answer; requests leave at their time, whatever the answers do."""
    poll, connections = connect(port, 64)
    request, free, took = question(port, key, model), list(connections.values()), []
    started = time.perf_counter()
    due, end, late = started, started + args.seconds, 0
    while due < end or len(free) < len(connections):
        while due < end and due <= time.perf_counter():
            if free:
                free.pop().ask(request)
            else:
                late += 1
            due += 1 / args.rate
        until = due if due < end else time.perf_counter() + 1
        for one in wait(poll, connections, until):
            # The provider's answers end with the brace of their JSON, alone or before a last chunk.
            if one.tail.endswith((b"}", b"}\n", b"0\r\n\r\n")):
                took.append((one.last - one.sent) * 1e3)
                free.append(one)
    for one in connections.values():
        one.socket.close()
    return {"p50 ms": percentile(took, 0.5), "p99 ms": percentile(took, 0.99), "requests": len(took),
            "not sent": late}


def chat_streams(port, key, model, args):
    # The gateway asks for usage, whether its client does or not: everybody is told the same.
    request = question(port, key, model, stream=True, stream_options={"include_usage": True})
    return streams(port, request, args, ENDS["chat"])


def streams(port, request, args, ends):
    """Begins that are spread over the length of a stream, so that as many run at a time, for `--seconds`."""
    poll, connections = connect(port, args.streams)
    free, firsts, gaps, chunks = list(connections.values()), [], [], 0
    step = 0 if args.burst else STREAM_S * 1.05 / args.streams
    started = time.perf_counter()
    due, left = started, args.streams if args.burst else int(args.seconds / step)
    while left or len(free) < len(connections):
        while left and free and due <= time.perf_counter():
            free.pop().ask(request)
            due += step
            left -= 1
        until = due if left and free else time.perf_counter() + 1
        for one in wait(poll, connections, until):
            # The last chunk of the body, behind the last event.
            if one.tail.endswith(b"\r\n0\r\n\r\n") and ends in one.tail:
                firsts.append((one.first - one.sent) * 1e3)
                gaps.append(one.gap * 1e3)
                chunks += one.chunks
                free.append(one)
    for one in connections.values():
        one.socket.close()
    return {"first text p50 ms": percentile(firsts, 0.5), "p99 ms": percentile(firsts, 0.99),
            "longest silence ms": max(gaps), "streams": len(firsts), "chunks": chunks}


def quiet_stage(args):
    """A stage whose client leaves core 0 to the gateway and does not stop to collect garbage."""
    if (os.cpu_count() or 1) > 1:
        os.sched_setaffinity(0, range(1, os.cpu_count()))
    gc.disable()
    return run.Stage(argparse.Namespace(target=args.target, keep=False, seconds=args.seconds))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["chats", "streams"])
    parser.add_argument("--rate", type=int, default=1000)
    parser.add_argument("--streams", type=int, default=500)
    parser.add_argument("--burst", action="store_true", help="all streams begin at once")
    parser.add_argument("--dense", action="store_true", help="streams of 250 chunks, one each 20 ms")
    parser.add_argument("--seconds", type=int, default=10, help="of one turn")
    parser.add_argument("--rounds", type=int, default=3, help="turns of each peer")
    parser.add_argument("--gateways", help="folders of builds to compare, with commas between")
    parser.add_argument("--target", default=os.environ.get("MERIDIAN_TARGET", str(run.ROOT / "target/release")))
    args = parser.parse_args()
    stage = quiet_stage(args)
    try:
        _, upstream = stage.provider()
        found = [("the provider alone", None, upstream, run.UPSTREAM_KEY, costs.THEIRS)]
        found += costs.peers(args, stage, upstream)
        rounds = {name: [] for name, *_ in found}
        for _ in range(args.rounds):
            for peer in found:
                rounds[peer[0]].append(turn(args, *peer))
        shown(args, rounds)
    finally:
        stage.end()


def turn(args, name, child, port, key, model):
    """One turn of one peer: its figures."""
    if args.what == "streams":
        model = (DENSE if args.dense else SLOW)[0 if name.startswith("Meridian") else 1]
    before = run.cpu_seconds(child.pid) if child else 0
    figures = {"chats": chats, "streams": chat_streams}[args.what](port, key, model, args)
    spent = run.cpu_seconds(child.pid) - before if child else 0
    count = figures.pop("chunks", figures.get("requests"))
    figures[f"CPU us/{'chunk' if args.what == 'streams' else 'request'}"] = spent / count * 1e6
    figures["MiB"] = run.rss_mib(child.pid) if child else 0
    return figures


def shown(args, rounds):
    print(f"load of the machine: {os.getloadavg()[0]:.1f}; medians of {args.rounds} rounds (least to most)")
    columns = list(next(iter(rounds.values()))[0])
    print("| system |", " | ".join(columns), "|\n|" + "---|" * (len(columns) + 1))
    for name, each in rounds.items():
        cells = []
        for column in columns:
            values = [figures[column] for figures in each]
            cells.append(f"{statistics.median(values):.2f} ({min(values):.2f} to {max(values):.2f})")
        print(f"| {name} |", " | ".join(cells), "|", flush=True)


if __name__ == "__main__":
    main()
