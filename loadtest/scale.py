#!/usr/bin/env python3
"""Whether the gateway's state scales: many deployments, many streams that wait.

    loadtest/scale.py deployments              1, 100 and 10,000 deployments, in one and in many groups
    loadtest/scale.py idle --streams 9000      streams that have had their first text and wait for the next
    loadtest/scale.py idle --streams 50000 --processes 6    the same, spread over several gateways

`deployments` starts a gateway for each arrangement and prints the time until it listens, its memory, the CPU of a
request at `--rate` in an open loop and the time of a reload. `idle` opens streams, lets them wait for `--seconds` and
prints memory and CPU of each: a stream is a connection to the gateway and one to the provider, so a process needs
twice as many descriptors as it has streams (`ulimit -n`). Clients have addresses from 127.0.1.1 on, providers a port
for each 5,000 streams: there are 28,000 ports for each pair of address and port. Meridian's comments in silent streams
are on, as they are without a setting.
"""
import argparse
import os
import resource
import select
import socket
import sys
import time

import costs
import light
import run

# Deployments and how many groups they make.
ARRANGEMENTS = [(1, 1), (100, 1), (10_000, 100), (10_000, 10_000), (10_000, 1)]
STREAMS_OF_PROVIDER = 5_000
STREAMS_OF_ADDRESS = 5_000
# Three events, the second with text, then nothing.
WAITS = "fake+tokens=9+stall@3"
# A changed file is seen, read and in force after so long.
RELOAD_S = 10
# Streams that are on their way at a time.
BEGINNING_MAX = 256
SPARE_DESCRIPTORS = 200


def models(ports, count, groups, upstream):
    """A list of deployments; those of a group differ in nothing but their provider's port and key."""
    lines = ["model_list:\n"]
    for number in range(count):
        lines.append(f"  - model_name: group-{number % groups}\n    litellm_params: {{model: 'openai/{upstream}', "
                     f"api_base: 'http://127.0.0.1:{ports[number % len(ports)]}/v1', api_key: {run.UPSTREAM_KEY}, "
                     "input_cost_per_token: 0.0000001, output_cost_per_token: 0.000001}\n"
                     f"    model_info: {{id: deployment-{number}}}\n")
    return "".join(lines)


def started(stage, text, number):
    """A gateway with this configuration; process, port, file, seconds until it listened."""
    port = run.free_port()
    config = stage.dir / f"scale-{number}.yaml"
    config.write_text(text + f"general_settings: {{master_key: {run.MASTER}}}\n"
                             "router_settings: {num_retries: 0, timeout: 86400}\n")
    command = [stage.program("meridian"), "serve", "--config", config, "--host", "127.0.0.1", "--port", port,
               "--data-dir", stage.dir / f"data-{number}"]
    began = time.monotonic()
    child = stage.start(f"gateway-{number}", command, 0, port)
    return child, port, config, time.monotonic() - began


def deployments(args, stage):
    _, upstream = stage.provider()
    print("| deployments | groups | until it listens s | MiB | CPU us/request | added p50 ms | CPU s of a reload |")
    print("|---|---|---|---|---|---|---|")
    light.chats(upstream, run.UPSTREAM_KEY, costs.THEIRS, argparse.Namespace(rate=args.rate, seconds=2))
    alone = light.chats(upstream, run.UPSTREAM_KEY, costs.THEIRS, args)
    for number, (count, groups) in enumerate(ARRANGEMENTS):
        text = models([upstream], count, groups, costs.THEIRS)
        child, port, config, seconds = started(stage, text, number)
        key = costs.make_key(port)
        light.chats(port, key, "group-0", argparse.Namespace(rate=args.rate, seconds=3))
        before = run.cpu_seconds(child.pid)
        asked = light.chats(port, key, "group-0", args)
        spent = run.cpu_seconds(child.pid) - before
        mib = run.rss_mib(child.pid)
        print(f"| {count} | {groups} | {seconds:.2f} | {mib:.0f} | {spent / asked['requests'] * 1e6:.1f} "
              f"| {asked['p50 ms'] - alone['p50 ms']:.2f} | {reload(child, config):.2f} |", flush=True)
        child.terminate()
        child.wait()
    print(f"load of the machine: {os.getloadavg()[0]:.1f}")


def reload(child, config):
    """CPU seconds of the gateway in the ten seconds after its configuration changed, less those of ten others."""
    took = []
    for more in ["", "# changed\n"]:
        before = run.cpu_seconds(child.pid)
        if more:
            config.write_text(config.read_text() + more)
        time.sleep(RELOAD_S)
        took.append(run.cpu_seconds(child.pid) - before)
    return took[1] - took[0]


def connection(port, number):
    """A connection from an address of its own for each 5,000."""
    one = socket.socket()
    one.setsockopt(socket.IPPROTO_IP, getattr(socket, "IP_BIND_ADDRESS_NO_PORT", 24), 1)
    one.bind((f"127.0.1.{1 + number // STREAMS_OF_ADDRESS}", 0))
    one.connect(("127.0.0.1", port))
    one.setblocking(False)
    return one


def begin(gateways, count):
    """Opens so many streams, over all gateways in turn, and waits until each has text."""
    poll, waiting, open_ones, begun = select.epoll(), {}, [], 0
    while begun < count or waiting:
        while begun < count and len(waiting) < BEGINNING_MAX:
            port, key = gateways[begun % len(gateways)]
            one = connection(port, begun)
            one.send(light.question(port, key, "group-0", stream=True))
            waiting[one.fileno()] = (one, b"")
            poll.register(one, select.EPOLLIN)
            begun += 1
        for fd, _ in poll.poll(30):
            one, text = waiting[fd]
            data = one.recv(65536)
            text += data
            if not data or not text.startswith(b"HTTP/1.1 200"):
                sys.exit(f"stream {begun}: {text[:300]!r}")
            waiting[fd] = (one, text)
            if light.has_text(text):
                poll.unregister(fd)
                del waiting[fd]
                open_ones.append(one)
    return open_ones


def alive(streams):
    """Streams whose connection stands; what has come is read."""
    poll = select.poll()
    for one in streams:
        poll.register(one, select.POLLIN)
    ended = 0
    by_number = {one.fileno(): one for one in streams}
    for fd, _ in poll.poll(0):
        ended += not by_number[fd].recv(65536)
    return len(streams) - ended


def descriptors(streams, processes):
    """Says what is missing rather than failing in the middle."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    needed = 2 * -(-streams // processes) + SPARE_DESCRIPTORS
    if needed > hard:
        sys.exit(f"a gateway needs {needed} descriptors and may have {hard}: raise `ulimit -n` or --processes")
    # This process has one for each stream: others hold theirs.
    return max(1, -(-streams // (hard - SPARE_DESCRIPTORS)))


def idle(args, stage):
    holders = descriptors(args.streams, args.processes)
    ports = [stage.provider(f"provider-{number}")[1]
             for number in range(-(-args.streams // STREAMS_OF_PROVIDER))]
    found = []
    for number in range(args.processes):
        # Each has providers of its own, as far as there are enough.
        own = ports[number::args.processes] or [ports[number % len(ports)]]
        child, port, _, _ = started(stage, models(own, len(own), 1, WAITS), number)
        found.append((child, port, costs.make_key(port)))
    gateways = [(port, key) for _, port, key in found]
    for stream in begin(gateways, 50 * args.processes):
        stream.close()
    time.sleep(3)
    before = [run.rss_mib(child.pid) for child, *_ in found]
    began = time.monotonic()
    readers = [Holder(gateways, count) for count in shares(args.streams, holders)]
    begun = sum(holder.begun() for holder in readers)
    took = time.monotonic() - began
    time.sleep(5)
    mib = [run.rss_mib(child.pid) for child, *_ in found]
    cpu, since = sum(run.cpu_seconds(child.pid) for child, *_ in found), time.monotonic()
    time.sleep(args.seconds)
    cpu = (sum(run.cpu_seconds(child.pid) for child, *_ in found) - cpu) / (time.monotonic() - since)
    stand = sum(holder.alive() for holder in readers)
    each = (sum(mib) - sum(before)) * 1024 / begun
    print(f"{begun} streams in {args.processes} gateways, begun in {took:.0f} s: {sum(before):.0f} MiB before, "
          f"{sum(mib):.0f} with them, {each:.1f} KiB each; {cpu * 100:.1f} % of a core while they wait, "
          f"{cpu / begun * 1e6:.1f} us a second each; after {args.seconds} s {stand} stand; "
          f"load of the machine {os.getloadavg()[0]:.1f}", flush=True)
    for holder in readers:
        holder.end()


def shares(count, parts):
    return [count // parts + (number < count % parts) for number in range(parts)]


class Holder:
    """A process that opens streams and holds them: one may not have as many descriptors as there are streams."""

    def __init__(self, gateways, count):
        (reads, self.words), (self.figures, writes) = os.pipe(), os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            os.close(self.words)
            hold(gateways, count, reads, writes)
        os.close(reads)
        os.close(writes)

    def begun(self):
        return int(os.read(self.figures, 16) or 0)

    def alive(self):
        os.write(self.words, b"?")
        return int(os.read(self.figures, 16) or 0)

    def end(self):
        os.close(self.words)
        os.waitpid(self.pid, 0)


def hold(gateways, count, reads, writes):
    """What a holder does until nobody asks any more; it never returns."""
    code = 1
    try:
        streams = begin(gateways, count)
        os.write(writes, b"%d" % len(streams))
        while os.read(reads, 1):
            os.write(writes, b"%d" % alive(streams))
        code = 0
    finally:
        os._exit(code)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["deployments", "idle"])
    parser.add_argument("--rate", type=int, default=500, help="requests a second of `deployments`")
    parser.add_argument("--streams", type=int, default=9000, help="of `idle`")
    parser.add_argument("--processes", type=int, default=1, help="gateways of `idle`")
    parser.add_argument("--seconds", type=int, default=10, help="of one turn; how long streams wait")
    parser.add_argument("--target", default=os.environ.get("MERIDIAN_TARGET", str(run.ROOT / "target/release")))
    args = parser.parse_args()
    stage = light.quiet_stage(args)
    try:
        {"deployments": deployments, "idle": idle}[args.what](args, stage)
    finally:
        stage.end()


if __name__ == "__main__":
    main()
