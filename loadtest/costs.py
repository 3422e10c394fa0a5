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
import statistics
import subprocess
import sys
import threading
import time

import run

BODY = json.dumps({"model": "MODEL", "messages": [{"role": "user", "content": "x" * 900}]})
EVERYTHING_ON = {"max_budget": 1000000, "budget_duration": "30d", "rpm_limit": 100000000,
                 "tpm_limit": 100000000000, "max_parallel_requests": 100000}


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
            return run.post(port, "/key/generate", EVERYTHING_ON)["key"]
        except OSError:
            time.sleep(1)
    sys.exit("the gateway makes no key")


def gateways(args, stage, upstream):
    """Each build: name, process, port, credential, model."""
    for number, folder in enumerate(args.gateways.split(",") if args.gateways else [args.target]):
        stage.args.target = folder
        child, port, _ = stage.gateway([upstream])
        stage.args.target = args.target
        yield f"Meridian {number}" if args.gateways else "Meridian", child, port, make_key(port), "fast"


def peers(args, stage, upstream):
    port = run.free_port()
    config = run.nginx_config(stage.dir, port, upstream)
    command = [run.shutil.which("nginx", path=os.environ["PATH"] + ":/usr/sbin"), "-c", config]
    yield "nginx", stage.start("nginx", command, 0, port), port, "any", "fake+tokens=8"
    port = run.free_port()
    command = [stage.program("examples/bare_proxy"), port, upstream]
    yield "bare Pingora", stage.start("bare", command, 0, port), port, run.UPSTREAM_KEY, "fake+tokens=8"
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
    targets = [("bare Pingora", None)] + [("Meridian", one) for one in (args.gateways or args.target).split(",")]
    for name, folder in targets:
        out, port = stage.dir / f"cg-{time.monotonic_ns()}", run.free_port()
        grind = ["valgrind", "--tool=callgrind", "--instr-atstart=no", "--separate-threads=no",
                 f"--callgrind-out-file={out}"]
        if folder:
            config = stage.dir / f"config-{port}.yaml"
            config.write_text(run.gateway_config([upstream], ""))
            command = [pathlib.Path(folder) / "meridian", "serve", "--config", config, "--host", "127.0.0.1",
                       "--port", port, "--threads", 1, "--data-dir", stage.dir / f"data-{port}"]
        else:
            command = [stage.program("examples/bare_proxy"), port, upstream]
        child = stage.start("callgrind", [*grind, *command], 0, port)
        key, model = (make_key(port), "fast") if folder else (run.UPSTREAM_KEY, "fake+tokens=8")
        load(stage, port, key, model, 3, 8)
        control = ["callgrind_control", "-i"]
        subprocess.run([*control, "on", str(child.pid)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)
        count = load(stage, port, key, model, args.seconds, 8)
        subprocess.run([*control, "off", str(child.pid)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)
        subprocess.run(["callgrind_control", "-d", str(child.pid)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)
        # Not SIGTERM: Pingora waits five minutes for what runs.
        child.send_signal(signal.SIGINT)
        child.wait()
        told(name, folder, pathlib.Path(f"{out}.1"), count, args)


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
    with run.socket.create_connection(("127.0.0.1", port)) as one:
        one.sendall(b"INFO commandstats\r\n")
        text = one.recv(1 << 20).decode()
    return {name: int(calls) for name, calls in re.findall(r"cmdstat_([\w|]+):calls=(\d+)", text)
            if name not in ("info", "hello", "auth", "client|setname", "ping")}


def stores(args, stage):
    """One node with a Redis and a Postgres of its own, asked in an open loop with a key that has everything on."""
    import drill
    import light
    _, upstream = stage.provider()
    drill.Postgres.BIN = drill.postgres_bin()
    # Postgres runs as another user and has to get here.
    stage.dir.chmod(0o755)
    postgres, redis = drill.Postgres(stage.dir, "costs"), run.free_port()
    postgres.dir.mkdir()
    if os.geteuid() == 0:
        run.shutil.chown(postgres.dir, "postgres")
    postgres.create()
    postgres.start()
    try:
        postgres.sql("postgres", "CREATE DATABASE llm")
        stage.start("redis", ["redis-server", "--port", redis, "--save", "", "--appendonly", "no", "--dir", stage.dir],
                    1, redis)
        url = f"postgresql://postgres@127.0.0.1:{postgres.port}/llm"
        os.environ["DATABASE_URL"] = url
        subprocess.run([stage.program("meridian"), "migrate", "up"], check=True, stdout=subprocess.DEVNULL)
        for cached in ("", "cache: true, "):
            settings = f"litellm_settings: {{{cached}cache_params: {{type: redis, url: 'redis://127.0.0.1:{redis}'}}, "
            port = run.free_port()
            config = stage.dir / f"config-{port}.yaml"
            config.write_text(run.gateway_config([upstream], "").replace("litellm_settings: {", settings))
            command = [stage.program("meridian"), "serve", "--config", config, "--host", "127.0.0.1", "--port", port,
                       "--data-dir", stage.dir / f"data-{port}"]
            child = stage.start("meridian", command, 0, port)
            key = make_key(port)
            light.chats(port, key, "fast", argparse.Namespace(rate=args.rate, seconds=3))
            time.sleep(3)
            count = "SELECT count(*) FROM meridian.spend_log"
            sums = "SELECT xact_commit, tup_inserted, tup_updated FROM pg_stat_database WHERE datname = 'llm'"
            before, rows = redis_calls(redis), int(postgres.sql("llm", count))
            busy = [int(one) for one in postgres.sql("llm", sums).split("|")]
            told = light.chats(port, key, "fast", argparse.Namespace(rate=args.rate, seconds=args.seconds))
            time.sleep(3)
            calls = {name: calls - before.get(name, 0) for name, calls in redis_calls(redis).items()}
            calls = {name: f"{each / args.seconds:.1f}/s" for name, each in calls.items() if each}
            rows = int(postgres.sql("llm", count)) - rows
            busy = [int(one) - past for one, past in zip(postgres.sql("llm", sums).split("|"), busy)]
            print(f"{cached or 'no cache, '}{told['requests']} requests in {args.seconds} s: Redis {calls}; Postgres "
                  f"{rows} rows of requests, {busy[0] / args.seconds:.1f} commits/s, {busy[1] / args.seconds:.0f} rows "
                  f"inserted/s, {busy[2] / args.seconds:.0f} updated/s", flush=True)
            child.send_signal(signal.SIGINT)
            child.wait()
    finally:
        postgres.kill()


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
