#!/usr/bin/env python3
"""What a request costs: CPU beside peers, instructions, system calls.

    loadtest/costs.py cpu                  CPU of a request through each peer, in turn, several rounds
    loadtest/costs.py instructions         callgrind: instructions of a request, by thread and function
    loadtest/costs.py syscalls             strace: system calls of a request
    loadtest/costs.py memory MIX@SECONDS.. memory after each ingredient of the soak
    loadtest/costs.py stores               what Redis and Postgres get at --rate requests a second

A closed loop of `wrk` over 32 connections asks for a 1 KB chat with key, budget, limits, journal, ledger and
metrics on; each peer has core 0 to itself while it is asked. `--gateways A,B` compares builds: folders that
hold a `meridian`. Needs wrk and nginx, for the others valgrind or strace, and `cargo build --release --examples`.
"""
import argparse
import json
import os
import pathlib
import re
import signal
import socket
import statistics
import subprocess
import sys
import threading
import time

import run

BODY = json.dumps({"model": "MODEL", "messages": [{"role": "user", "content": "x" * 900}]})
# The model that the gateway knows, and the provider's name of it for those that only pass requests on.
OURS, THEIRS = "fast", "fake+tokens=8"


def load(stage, port, key, model, seconds, connections=32):
    """Requests that were answered."""
    script = stage.dir / "post.lua"
    script.write_text(
        'wrk.method="POST"\nwrk.headers["Content-Type"]="application/json"\n'
        f'wrk.headers["Authorization"]="Bearer {key}"\nwrk.body=[==[{BODY.replace("MODEL", model)}]==]\n')
    command = ["taskset", "-c", "1", "wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "-s", str(script),
               f"http://127.0.0.1:{port}/v1/chat/completions"]
    said = subprocess.run(command, capture_output=True, text=True).stdout
    if refused := re.search(r"Non-2xx.*", said):
        sys.exit(f"not every request was served: {refused[0]}")
    return int(re.search(r"(\d+) requests in", said)[1])


def make_key(port):
    for _ in range(60):
        try:
            return run.post(port, "/key/generate", run.EVERYTHING_ON)["key"]
        except OSError:
            time.sleep(1)
    sys.exit("the gateway makes no key")


def gateways(args, stage, upstream):
    """Each build: name, process, port, credential, model."""
    for number, folder in enumerate(builds(args)):
        child, port, _ = stage.gateway([upstream], folder)
        yield f"Meridian {number}" if args.gateways else "Meridian", child, port, make_key(port), OURS


def builds(args):
    return args.gateways.split(",") if args.gateways else [args.target]


def peers(args, stage, upstream):
    """As `gateways`, nginx and a bare Pingora before them: ratios are to these."""
    proxies = list(run.proxies(stage, upstream))
    if len(proxies) < 2:
        sys.exit("nginx (apt-get install nginx-light) and examples/bare_proxy are compared with")
    for proxy in proxies:
        yield *proxy, THEIRS
    yield from gateways(args, stage, upstream)


def cpu(args, stage):
    _, upstream = stage.provider()
    found = list(peers(args, stage, upstream))
    costs = {peer[0]: [] for peer in found}
    for _, _, port, key, model in found:
        load(stage, port, key, model, 2)
    for _ in range(args.rounds):
        for name, child, port, key, model in found:
            before = run.cpu_seconds(child.pid)
            count = load(stage, port, key, model, args.seconds)
            costs[name].append((run.cpu_seconds(child.pid) - before) / count * 1e6)
    middle = {name: statistics.median(all_of_it) for name, all_of_it in costs.items()}
    print(f"load of the machine: {os.getloadavg()[0]:.1f}")
    print("| system | CPU us/request, median (all) | x bare Pingora | x nginx |\n|---|---|---|---|")
    for name, all_of_it in costs.items():
        print(f"| {name} | {middle[name]:.1f} ({', '.join(f'{one:.0f}' for one in sorted(all_of_it))}) "
              f"| {middle[name] / middle['bare Pingora']:.2f} | {middle[name] / middle['nginx']:.2f} |")


def instructions(args, stage):
    _, upstream = stage.provider()
    for folder in [None, *builds(args)]:
        out = stage.dir / f"cg-{time.monotonic_ns()}"
        if folder:
            command, port, _ = stage.gateway_command([upstream], folder)
            command += ["--threads", 1]
        else:
            port = run.free_port()
            command = [stage.program("examples/bare_proxy"), port, upstream]
        grind = ["valgrind", "--tool=callgrind", "--instr-atstart=no", "--separate-threads=no",
                 f"--callgrind-out-file={out}"]
        child = stage.start("callgrind", [*grind, *command], 0, port)
        key, model = (make_key(port), OURS) if folder else (run.UPSTREAM_KEY, THEIRS)
        load(stage, port, key, model, 3, 8)
        control(child, "-i", "on")
        count = load(stage, port, key, model, args.seconds, 8)
        control(child, "-i", "off")
        control(child, "-d")
        # Not SIGTERM, which drains.
        child.send_signal(signal.SIGINT)
        child.wait()
        told("Meridian" if folder else "bare Pingora", folder, pathlib.Path(f"{out}.1"), count, args)


def control(child, *words):
    subprocess.run(["callgrind_control", *words, str(child.pid)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                   check=True)


# What is shown of the gateway: the whole of these, with what they call.
PARTS = {
    "data plane": r"HttpServerApp>::process_new_http::",
    "admission with OPEN": r"plane::admit::admit_caller::",
    "attempt": r"forward::attempt::Attempt::run::",
    "head of the answer": r"plane::relay::head::of_answer",
    "settlement with CLOSE": r"plane::settle::settle ",
    "rows and roll-ups": r"store::embedded::apply::apply ",
    "journal read back": r"journal::Journal>::read_batch",
    "frames written": r"journal::frame::encode_within",
}


def told(name, folder, profile, count, args):
    text = subprocess.run(["callgrind_annotate", "--inclusive=yes", "--threshold=100", str(profile)],
                          capture_output=True, text=True).stdout
    total = int(re.search(r"([\d,]+) \(100.0%\)\s+PROGRAM TOTALS", text)[1].replace(",", ""))
    print(f"{name} {folder or ''}: {total / count:,.0f} instructions for each of {count} requests")
    for part, pattern in PARTS.items():
        if folder and (line := re.search(r"^\s*([\d,]+) .*" + pattern, text, re.M)):
            print(f"  {part}: {int(line[1].replace(',', '')) / count:,.0f}")
    if args.out:
        kept = pathlib.Path(args.out) / f"callgrind.{name.replace(' ', '-')}.{count}"
        kept.write_bytes(profile.read_bytes())
        print(f"  kept: {kept}")


def syscalls(args, stage):
    _, upstream = stage.provider()
    for name, child, port, key, model in list(peers(args, stage, upstream))[1:]:
        out = stage.dir / "strace"
        tracer = subprocess.Popen(["strace", "-c", "-f", "-p", str(child.pid), "-o", str(out)],
                                  stderr=subprocess.DEVNULL)
        time.sleep(1.5)
        count = load(stage, port, key, model, args.seconds)
        tracer.send_signal(signal.SIGINT)
        tracer.wait()
        rows = [line.split() for line in out.read_text().splitlines()[2:] if line.strip()]
        told = [(row[-1], int(row[3]) / count) for row in rows if len(row) > 4 and row[3].isdigit()]
        print(name, ", ".join(f"{call} {each:.2f}" for call, each in told if each >= 0.01 and call != "total"))


def memory_of(pid):
    found = dict(re.findall(r"^(\w+): +(\d+) kB", pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text(), re.M))
    anonymous, resident = int(found["Anonymous"]) / 1024, int(found["Rss"]) / 1024
    return (f"{resident:.1f} MiB resident, {anonymous:.1f} of them heap and stacks, "
            f"{len(os.listdir(f'/proc/{pid}/task'))} threads, {len(os.listdir(f'/proc/{pid}/fd'))} descriptors")


def reloads(config, every, stop):
    text, turn = config.read_text(), 0
    while not stop.wait(every):
        turn += 1
        config.write_text(f"{text}# reload {turn}\n")


def memory(args, stage):
    """A phase is `asks:500@20`, ingredients of the soak with their rates for so many seconds; with `/2` behind
    it the configuration is reloaded every two seconds."""
    _, upstream = stage.provider()
    child, port, config = stage.gateway([upstream])
    print("start:", memory_of(child.pid), flush=True)
    for phase in args.phases:
        mix, seconds = phase.split("@")
        seconds, _, every = seconds.partition("/")
        stop, thread = threading.Event(), None
        if every:
            thread = threading.Thread(target=reloads, args=(config, float(every), stop))
            thread.start()
        stage.args.seconds = int(seconds)
        if mix == "idle":
            time.sleep(int(seconds))
        else:
            run.k6(stage.args, "soak", port, stage.dir / "summary.json", {"MIX": mix}, quiet=True)
        stop.set()
        if thread:
            thread.join()
        print(f"{phase}: {memory_of(child.pid)}", flush=True)


def redis_calls(port):
    with socket.create_connection(("127.0.0.1", port)) as one:
        one.sendall(b"INFO commandstats\r\n")
        text = one.recv(1 << 20).decode()
    return {name: int(calls) for name, calls in re.findall(r"cmdstat_([\w|]+):calls=(\d+)", text)
            if name not in ("info", "hello", "auth", "client|setname", "ping")}


def stores(args, stage):
    """One node with a Redis and a Postgres of its own, asked in an open loop with a key that has everything on."""
    import drill
    _, upstream = stage.provider()
    drill.Postgres.BIN = drill.postgres_bin()
    # Postgres runs as another user and has to get here.
    stage.dir.chmod(0o755)
    postgres, redis = drill.Postgres(stage.dir, "costs"), run.free_port()
    postgres.make_dir()
    postgres.create()
    postgres.start()
    try:
        postgres.sql("postgres", "CREATE DATABASE llm")
        stage.start("redis", ["redis-server", "--port", redis, "--save", "", "--appendonly", "no", "--dir", stage.dir],
                    1, redis)
        env = {"DATABASE_URL": f"postgresql://postgres@127.0.0.1:{postgres.port}/llm"}
        subprocess.run([stage.program("meridian"), "migrate", "up"], check=True, stdout=subprocess.DEVNULL,
                       env={**os.environ, **env})
        for cached in ("", "cache: true, "):
            settings = f"{cached}cache_params: {{type: redis, url: 'redis://127.0.0.1:{redis}'}}, "
            child, port, _ = stage.gateway([upstream], settings=settings, env=env)
            what_stores_get(args, cached or "no cache, ", port, postgres, redis)
            child.send_signal(signal.SIGINT)
            child.wait()
    finally:
        postgres.kill()


def what_stores_get(args, name, port, postgres, redis):
    import light
    key = make_key(port)
    light.chats(port, key, OURS, argparse.Namespace(rate=args.rate, seconds=3))
    time.sleep(3)
    past, past_calls = rows_of(postgres), redis_calls(redis)
    asked = light.chats(port, key, OURS, argparse.Namespace(rate=args.rate, seconds=args.seconds))
    time.sleep(3)
    calls = {call: count - past_calls.get(call, 0) for call, count in redis_calls(redis).items()}
    calls = {call: f"{count / args.seconds:.1f}/s" for call, count in calls.items() if count}
    requests, commits, inserted, updated = (now - before for now, before in zip(rows_of(postgres), past))
    print(f"{name}{asked['requests']} requests in {args.seconds} s: Redis {calls}; Postgres {requests} rows of requests, "
          f"{commits / args.seconds:.1f} commits/s, {inserted / args.seconds:.0f} rows inserted/s, "
          f"{updated / args.seconds:.0f} updated/s", flush=True)


def rows_of(postgres):
    """Rows of requests; commits, rows inserted and rows updated since the server's start."""
    requests = postgres.sql("llm", "SELECT count(*) FROM meridian.spend_log")
    sums = "SELECT xact_commit, tup_inserted, tup_updated FROM pg_stat_database WHERE datname = 'llm'"
    return [int(one) for one in [requests, *postgres.sql("llm", sums).split("|")]]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["cpu", "instructions", "syscalls", "memory", "stores"])
    parser.add_argument("phases", nargs="*", help="of `memory`")
    parser.add_argument("--seconds", type=int, default=3, help="of one turn")
    parser.add_argument("--rounds", type=int, default=4, help="turns of each peer")
    parser.add_argument("--rate", type=int, default=500, help="requests a second of `stores`")
    parser.add_argument("--gateways", help="folders of builds to compare, with commas between")
    parser.add_argument("--target", default=os.environ.get("MERIDIAN_TARGET", str(run.ROOT / "target/release")))
    parser.add_argument("--out", help="folder for callgrind's files")
    args = parser.parse_intermixed_args()
    stage = run.Stage(argparse.Namespace(target=args.target, keep=False, seconds=args.seconds))
    try:
        {"cpu": cpu, "instructions": instructions, "syscalls": syscalls, "memory": memory,
         "stores": stores}[args.what](args, stage)
    finally:
        stage.end()


if __name__ == "__main__":
    main()
