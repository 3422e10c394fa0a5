#!/usr/bin/env python3
"""Three regions on one machine, and what can happen to them.

    loadtest/drill.py                        all drills; the report goes to target/loadtest/drill
    loadtest/drill.py --only gateway,region  some of them
    loadtest/drill.py --out docs/drills      the report where an example is kept

A region is a Redis, a Postgres (eu-west-1 with a standby) and two gateways. Regions reach each other
through relays that delay and cut. A stand-in for GeoDNS asks every node's /health/readiness twice a
second and sends each user to the nearest region that is ready. Users ask in an open loop: a request
starts when it is due, whatever became of the one before. The fake provider's meter is the truth.
Needs redis-server, PostgreSQL 14 or later and a release build; everything listens on loopback.
"""
import argparse
import asyncio
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
from plots import plot  # noqa: E402
from run import free_port, serving, UPSTREAM_KEY  # noqa: E402

ROOT = pathlib.Path(__file__).resolve().parent.parent
MASTER = "sk-drill-master"
REGIONS = ["eu-west-1", "us-east-1", "ap-southeast-1"]
# Round trips in milliseconds.
DISTANCE = {("eu-west-1", "us-east-1"): 80, ("us-east-1", "ap-southeast-1"): 230, ("eu-west-1", "ap-southeast-1"): 160}
# Nano-dollars of a token, as in the gateways' configuration.
PROMPT_NANO, COMPLETION_NANO = 1000, 2000
LOOK_S = 0.5
BUDGET = 0.05


def distance(one, other):
    return 0 if one == other else DISTANCE.get((one, other)) or DISTANCE[(other, one)]


class Relay:
    """Passes bytes on after half a round trip, or not at all."""

    def __init__(self, target, round_trip_ms):
        self.target, self.delay, self.cut = target, round_trip_ms / 2000, False
        self.open, self.port = set(), free_port()
        self.passing = asyncio.Event()
        self.passing.set()

    async def start(self):
        self.server = await asyncio.start_server(self.accept, "127.0.0.1", self.port)
        return self

    async def accept(self, reader, writer):
        if self.cut:
            writer.transport.abort()
            return
        await self.passing.wait()
        try:
            up_reader, up_writer = await asyncio.open_connection("127.0.0.1", self.target)
        except OSError:
            writer.transport.abort()
            return
        self.open |= {writer, up_writer}
        try:
            await asyncio.gather(self.pump(reader, up_writer), self.pump(up_reader, writer))
        except asyncio.CancelledError:
            return  # the drill is over
        finally:
            self.open -= {writer, up_writer}

    async def pump(self, reader, writer):
        loop = asyncio.get_running_loop()

        def deliver(chunk):
            if not writer.is_closing() and not self.cut:
                writer.write(chunk)
        try:
            while chunk := await reader.read(65536):
                await self.passing.wait()
                # In order: equal delays keep the order of their starts.
                loop.call_later(self.delay, deliver, chunk)
        except OSError:
            pass
        loop.call_later(self.delay, writer.close)

    def set_silent(self, silent):
        """Nothing passes and nobody is told, as with packets that are dropped; what waits comes late."""
        self.passing.clear() if silent else self.passing.set()

    def set_cut(self, cut):
        self.cut = cut
        if cut:
            for writer in list(self.open):
                writer.transport.abort()


def as_postgres(command):
    """Postgres refuses to run as root."""
    if os.geteuid() == 0:
        return ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups", *command]
    return command


def postgres_bin():
    found = sorted(pathlib.Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name))
    return found[-1] if found else pathlib.Path(shutil.which("initdb") or sys.exit("PostgreSQL is missing")).parent


class Postgres:
    BIN = None

    def __init__(self, directory, name):
        self.dir, self.port, self.name = directory / f"pg-{name}", free_port(), name

    def run(self, program, *words, check=True):
        command = as_postgres([str(self.BIN / program), *map(str, words)])
        return subprocess.run(command, check=check, cwd="/", stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    def make_dir(self):
        self.dir.mkdir(mode=0o700)
        if os.geteuid() == 0:
            shutil.chown(self.dir, "postgres")

    def create(self):
        self.run("initdb", "-A", "trust", "--no-sync", "--no-instructions", "-D", self.dir)
        with open(self.dir / "postgresql.conf", "a") as conf:
            conf.write("listen_addresses='127.0.0.1'\nfsync=off\nfull_page_writes=off\nshared_buffers=32MB\n"
                       f"max_connections=80\nunix_socket_directories='{self.dir}'\nwal_level=replica\n")

    def start(self):
        self.run("pg_ctl", "-D", self.dir, "-o", f"-p {self.port}", "-l", self.dir / "log", "-w", "start")

    def standby_of(self, primary):
        """Every acknowledged commit is on both from now on."""
        self.run("pg_basebackup", "-h", "127.0.0.1", "-p", primary.port, "-U", "postgres", "-D", self.dir,
                 "-R", "-X", "stream", "-c", "fast")
        self.start()
        primary.sql("postgres", "ALTER SYSTEM SET synchronous_standby_names = '*'")
        primary.sql("postgres", "SELECT pg_reload_conf()")

    def kill(self):
        self.run("pg_ctl", "-D", self.dir, "-m", "immediate", "stop", check=False)

    def promote(self):
        self.sql("postgres", "ALTER SYSTEM SET synchronous_standby_names = ''")
        self.run("pg_ctl", "-D", self.dir, "-w", "promote")

    def sql(self, database, text):
        ran = self.run("psql", "-h", "127.0.0.1", "-p", self.port, "-U", "postgres", "-d", database, "-Atqc", text, check=False)
        return ran.stdout.strip()


class Region:
    def __init__(self, drill, name):
        self.drill, self.name, self.nodes = drill, name, []
        self.redis_port, self.redis = free_port(), None
        self.postgres, self.standby = Postgres(drill.dir, name), None

    def start_redis(self):
        self.redis = self.drill.spawn(f"redis-{self.name}", [
            "redis-server", "--port", self.redis_port, "--save", "", "--appendonly", "no", "--bind", "127.0.0.1",
            "--dir", self.drill.dir])


class Node:
    def __init__(self, region, number):
        self.region, self.number, self.port = region, number, free_port()
        self.name = f"{region.name}/{number}"
        self.data = region.drill.dir / f"data-{region.name}-{number}"
        self.child, self.ready, self.down_since = None, False, None

    def start(self):
        env = {"DATABASE_URL": f"postgresql://postgres@127.0.0.1:{self.region.postgres_relay.port}/llm"}
        self.child = self.region.drill.spawn(f"gateway-{self.region.name}-{self.number}", [
            self.region.drill.program, "serve", "--config", self.region.config, "--host", "127.0.0.1",
            "--port", self.port, "--data-dir", self.data, "--region", self.region.name, "--threads", "1"], env)

    def signal(self, number):
        for pid in list(serving(self.data)) or [self.child.pid]:
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                pass


async def exchange(port, method, path, body=None, key=MASTER, timeout=10.0):
    """One request on a connection of its own: status, body, seconds to the first byte of the body."""
    async def talk():
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            data = json.dumps(body).encode() if body is not None else b""
            head = (f"{method} {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {key}\r\nconnection: close\r\n"
                    f"content-type: application/json\r\ncontent-length: {len(data)}\r\n\r\n")
            began = time.monotonic()
            writer.write(head.encode() + data)
            answer, first = b"", None
            while piece := await reader.read(65536):
                answer += piece
                if first is None and b"\r\n\r\n" in answer and not answer.endswith(b"\r\n\r\n"):
                    first = time.monotonic() - began
            if not answer:
                raise ConnectionError("closed without an answer")
            head, _, rest = answer.partition(b"\r\n\r\n")
            return int(head.split()[1]), rest, first
        finally:
            writer.close()
    return await asyncio.wait_for(talk(), timeout)


class Drill:
    def __init__(self, args):
        self.args = args
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="meridian-drill-", dir="/dev/shm" if os.path.isdir("/dev/shm") else None))
        self.dir.chmod(0o777)
        self.children, self.regions, self.relays = [], {}, {}
        self.program = pathlib.Path(args.target) / "meridian"
        self.provider_port = free_port()
        self.samples, self.sent, self.began = [], 0, time.monotonic()
        self.stop, self.events = asyncio.Event(), []
        Postgres.BIN = postgres_bin()

    def spawn(self, name, command, env=None):
        log = open(self.dir / f"{name}.log", "ab")
        child = subprocess.Popen([str(word) for word in command], stdout=log, stderr=log, stdin=subprocess.DEVNULL,
                                 env={**os.environ, **(env or {})})
        self.children.append(child)
        return child

    async def build(self):
        self.spawn("provider", [pathlib.Path(self.args.target) / "examples/fake_provider", "--port", self.provider_port,
                                "--key", UPSTREAM_KEY, "--rows", "1000000"])
        for name in REGIONS:
            self.regions[name] = await self.build_stores(name)
        for one in REGIONS:
            for other in REGIONS:
                if one != other:
                    target = self.regions[other].redis_port
                    self.relays[(one, other)] = await Relay(target, distance(one, other)).start()
        for region in self.regions.values():
            region.config = self.dir / f"{region.name}.yaml"
            region.config.write_text(self.config(region))
            url = f"postgresql://postgres@127.0.0.1:{region.postgres.port}/llm"
            subprocess.run([self.program, "migrate", "up"], check=True, env={**os.environ, "DATABASE_URL": url}, stdout=subprocess.DEVNULL)
            region.nodes = [Node(region, number) for number in (1, 2)]
            for node in region.nodes:
                node.start()
        eu = self.regions["eu-west-1"]
        eu.standby = Postgres(self.dir, "standby")
        eu.standby.make_dir()
        eu.standby.standby_of(eu.postgres)
        for node in self.nodes():
            await self.until(lambda node=node: self.is_ready(node), 120, f"{node.name} to be ready")

    async def build_stores(self, name):
        region = Region(self, name)
        region.start_redis()
        region.postgres.make_dir()
        region.postgres.create()
        region.postgres.start()
        region.postgres.sql("postgres", "CREATE DATABASE llm")
        # A name that stays when the server behind it changes, as a DNS name or a proxy does.
        region.postgres_relay = await Relay(region.postgres.port, 0).start()
        return region

    def config(self, region):
        links = "".join(f"      {other}: {{url: 'redis://127.0.0.1:{self.relays[(region.name, other)].port}'}}\n"
                        for other in REGIONS if other != region.name)
        near = sorted((other for other in REGIONS if other != region.name), key=lambda other: distance(region.name, other))
        return (f"model_list:\n  - model_name: fast\n    litellm_params: {{model: 'openai/fake+tokens=10', "
                f"api_base: 'http://127.0.0.1:{self.provider_port}/v1', api_key: {UPSTREAM_KEY}, "
                f"input_cost_per_token: 0.000001, output_cost_per_token: 0.000002}}\n"
                f"general_settings: {{master_key: {MASTER}, proxy_batch_write_at: 1}}\n"
                f"litellm_settings:\n  require_auth_for_metrics_endpoint: false\n"
                f"  cache_params: {{type: redis, url: 'redis://127.0.0.1:{region.redis_port}'}}\n"
                f"meridian:\n  default_region: {region.name}\n  regions:\n    nearest: [{', '.join(near)}]\n    links:\n{links}")

    def nodes(self):
        return [node for region in self.regions.values() for node in region.nodes]

    async def is_ready(self, node):
        try:
            status, _, _ = await exchange(node.port, "GET", "/health/readiness", timeout=2)
            return status == 200
        except (OSError, asyncio.TimeoutError, ValueError, IndexError):
            return False

    async def until(self, condition, seconds, what):
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if await condition():
                return
            await asyncio.sleep(0.2)
        raise RuntimeError(f"waited {seconds} s in vain for {what}; logs are in {self.dir}")

    # GeoDNS: out after two failures, in after two successes.
    async def names(self):
        streaks = {node.name: 0 for node in self.nodes()}
        while not self.stop.is_set():
            answers = await asyncio.gather(*(self.is_ready(node) for node in self.nodes()))
            for node, ready in zip(self.nodes(), answers):
                if getattr(node.region, "dark", False):
                    ready = False
                streaks[node.name] = 0 if ready == node.ready else streaks[node.name] + 1
                if streaks[node.name] >= 2:
                    node.ready, streaks[node.name] = ready, 0
            await asyncio.sleep(LOOK_S)

    def near(self, user_region):
        for name in sorted(REGIONS, key=lambda other: distance(user_region, other)):
            ready = [node for node in self.regions[name].nodes if node.ready]
            if ready:
                return ready
        return self.nodes()

    async def users(self):
        """Each region's users, and what became of every request."""
        due, running = time.monotonic(), set()
        while not self.stop.is_set():
            due += 1 / self.args.rate
            await asyncio.sleep(max(0, due - time.monotonic()))
            region = REGIONS[self.sent % 3]
            self.sent += 1
            task = asyncio.create_task(self.ask(region, self.sent))
            running.add(task)
            task.add_done_callback(running.discard)
        await asyncio.gather(*running)

    async def ask(self, region, number):
        nodes = self.near(region)
        node = nodes[number % len(nodes)]
        body = {"model": "fast", "stream": True, "user": f"drill-{number}", "messages": [{"role": "user", "content": "hello"}]}
        at, began = time.monotonic() - self.began, time.monotonic()
        status, whole, first = 0, False, None
        # As SDKs do: another connection after a refusal, twice.
        for attempt in range(3):
            body["user"] = f"drill-{number}-{attempt}"
            try:
                if getattr(node.region, "dark", False):
                    raise ConnectionError("the region cannot be reached")
                status, text, first = await exchange(node.port, "POST", "/v1/chat/completions", body, self.key, 15)
                whole = status == 200 and b"[DONE]" in text
            except (OSError, asyncio.TimeoutError, ValueError, IndexError):
                status, whole = 0, False
            if whole or status not in (0, 429, 500, 502, 503):
                break
            await asyncio.sleep(0.2 * 2 ** attempt)
            nodes = [other for other in self.near(region) if other is not node] or self.near(region)
            node = nodes[(number + attempt) % len(nodes)]
        travel = distance(region, node.region.name) / 1000
        waited = time.monotonic() - began
        self.samples.append((at, region, node.region.name, whole, attempt, (first or waited) + travel, status))

    async def ledger(self):
        """Nano-dollars over all regions by marker, and whether each was billed by estimate."""
        rows = {}
        for region in self.regions.values():
            text = region.postgres.sql("llm", "SELECT end_user, cost, estimated FROM meridian.spend_log WHERE end_user LIKE 'drill-%'")
            for line in filter(None, text.splitlines()):
                marker, cost, estimated = line.split("|")
                rows.setdefault(marker, []).append((int(cost), estimated == "t"))
        return rows

    async def settled(self):
        """RPO: what the provider served against what is billed, once records have arrived."""
        deadline, missing, twice, off, estimated = time.monotonic() + 60, [], [], 0, 0
        while time.monotonic() < deadline:
            _, text, _ = await exchange(self.provider_port, "GET", "/__meter?rows=1", key=UPSTREAM_KEY, timeout=60)
            served = {row["marker"]: row for row in dechunked(text)["rows"] if str(row.get("marker", "")).startswith("drill-")}
            rows = await self.ledger()
            missing = [marker for marker in served if marker not in rows]
            twice = [marker for marker, spends in rows.items() if len(spends) > 1]
            off, estimated = 0, 0
            for marker in served.keys() & rows.keys():
                cost, by_estimate = rows[marker][0]
                estimated += by_estimate
                row = served[marker]
                truth = row["prompt_tokens"] * PROMPT_NANO + row["completion_tokens"] * COMPLETION_NANO
                off += 0 if by_estimate else cost - truth
            if not missing and not twice:
                break
            await asyncio.sleep(1)
        return len(missing), len(twice), off, estimated

    def note(self, text):
        self.events.append((time.monotonic() - self.began, text))
        print(f"  {time.monotonic() - self.began:6.1f} s  {text}", flush=True)

    async def end(self):
        self.stop.set()
        for node in self.nodes():
            node.signal(signal.SIGKILL)
        for region in self.regions.values():
            region.postgres.kill()
            if region.standby:
                region.standby.kill()
        for child in self.children:
            if child.poll() is None:
                child.kill()
            child.wait()
        if not self.args.keep:
            shutil.rmtree(self.dir, ignore_errors=True)


def dechunked(text):
    return json.loads(text[text.index(b"{"):text.rindex(b"}") + 1])


async def rest(drill, seconds):
    await asyncio.sleep(seconds * drill.args.scale)


async def gateway(drill):
    node = drill.regions["eu-west-1"].nodes[0]
    drill.note("kill -9 of a gateway in eu-west-1")
    node.signal(signal.SIGKILL)
    await rest(drill, 10)
    node.start()
    drill.note("it is started again")
    await rest(drill, 10)


async def redis(drill):
    region = drill.regions["us-east-1"]
    drill.note("us-east-1's Redis dies and comes back empty")
    region.redis.kill()
    region.redis.wait()
    await rest(drill, 5)
    region.start_redis()
    await rest(drill, 10)


async def postgres(drill):
    region = drill.regions["eu-west-1"]
    drill.note("eu-west-1's Postgres dies")
    region.postgres.kill()
    await rest(drill, 8)
    region.standby.promote()
    region.postgres_relay.target = region.standby.port
    region.postgres, region.standby = region.standby, None
    drill.note("its standby is promoted and takes the name over")
    await rest(drill, 15)


async def region(drill):
    drill.note("ap-southeast-1 is cut off from users and regions")
    drill.regions["ap-southeast-1"].dark = True
    for pair, relay in drill.relays.items():
        if "ap-southeast-1" in pair:
            relay.set_cut(True)
    await rest(drill, 30 if drill.args.scale < 1 else 120)
    for relay in drill.relays.values():
        relay.set_cut(False)
    drill.regions["ap-southeast-1"].dark = False
    drill.note("it is back")
    await rest(drill, 15)


async def silent(drill):
    """As packets that a firewall drops: no connection ends, no answer comes."""
    drill.note("ap-southeast-1 hears no other region and no user, us-east-1 not its Postgres; nobody is told")
    drill.regions["ap-southeast-1"].dark = True
    quiet = [relay for pair, relay in drill.relays.items() if "ap-southeast-1" in pair]
    quiet.append(drill.regions["us-east-1"].postgres_relay)
    for relay in quiet:
        relay.set_silent(True)
    await rest(drill, 30 if drill.args.scale < 1 else 120)
    for relay in quiet:
        relay.set_silent(False)
    drill.regions["ap-southeast-1"].dark = False
    drill.note("all hear again")
    await rest(drill, 15)


async def drained(drill):
    nodes = drill.regions["us-east-1"].nodes
    drill.note("us-east-1 is drained (SIGTERM)")
    for node in nodes:
        node.signal(signal.SIGTERM)
    await rest(drill, 15)
    for node in nodes:
        node.start()
    drill.note("its nodes are started again")
    await rest(drill, 15)


async def upgrade(drill):
    for node in drill.nodes():
        before = set(serving(node.data))
        node.signal(signal.SIGUSR2)

        async def replaced(node=node, before=before):
            return bool(set(serving(node.data)) - before)
        await drill.until(replaced, 60, f"a new process of {node.name}")
        drill.note(f"{node.name} is another process")
        await rest(drill, 3)
    await rest(drill, 10)


async def budget(drill):
    """A budget that all regions use at once, while one of them is cut off."""
    status, text, _ = await exchange(drill.regions["eu-west-1"].nodes[0].port, "POST", "/key/generate", {"max_budget": BUDGET}, timeout=30)
    key = dechunked(text)["key"]
    await rest(drill, 5)
    for pair, relay in drill.relays.items():
        if "ap-southeast-1" in pair:
            relay.set_cut(True)
    drill.note(f"a budget of ${BUDGET} is raced for in three regions, ap-southeast-1 is cut off")
    body = {"model": "fast", "max_tokens": 10, "messages": [{"role": "user", "content": "hello"}]}
    spent, sent = 0, 0
    for _ in range(40):
        answers = await asyncio.gather(*(exchange(node.port, "POST", "/v1/chat/completions", body, key, 30)
                                         for node in drill.nodes() for _ in range(10)), return_exceptions=True)
        sent += len(answers)
        for answer in answers:
            if not isinstance(answer, BaseException) and answer[0] == 200:
                usage = dechunked(answer[1])["usage"]
                spent += usage["prompt_tokens"] * PROMPT_NANO + usage["completion_tokens"] * COMPLETION_NANO
    bound = await published_bound(drill.regions["eu-west-1"].nodes[0], key)
    for relay in drill.relays.values():
        relay.set_cut(False)
    drill.overspend = (spent / 1e9, BUDGET, sent, bound)
    drill.note(f"spent ${spent / 1e9:.4f} in {sent} requests")
    await rest(drill, 5)


async def published_bound(node, key):
    """By how much the gateway itself says that the budget can be passed, in dollars; None if it does not say."""
    try:
        status, text, _ = await exchange(node.port, "GET", f"/budget/state/key:{key}", timeout=10)
        return dechunked(text)["bound"]["total_nano_usd"] / 1e9 if status == 200 else None
    except (OSError, asyncio.TimeoutError, ValueError, KeyError):
        return None


DRILLS = {"gateway": (gateway, 10), "redis": (redis, 10), "postgres": (postgres, 10), "region": (region, 30),
          "silent": (silent, 30),
          "drained": (drained, 30), "upgrade": (upgrade, 0), "budget": (budget, None)}


def judged(drill, name, begin, end):
    """Figures of one drill: error rate, RTO (seconds with failed requests), p99 TTFT during and after."""
    inside = [one for one in drill.samples if begin <= one[0] < end]
    failed = [one for one in inside if not one[3]]
    retried = [one for one in inside if one[3] and one[4] > 0]
    bad = sorted({int(one[0]) for one in failed})
    rto = bad[-1] - bad[0] + 1 if bad else 0

    def p99(values):
        values = sorted(values)
        return values[min(len(values) - 1, int(len(values) * 0.99))] * 1000 if values else 0
    middle = begin + (end - begin) * 0.7
    return {"name": name, "requests": len(inside), "failed": len(failed), "retried": len(retried), "rto": rto,
            "during": p99([one[5] for one in inside if one[3] and one[0] < middle]),
            "after": p99([one[5] for one in inside if one[3] and one[0] >= middle])}


async def play(args):
    drill = Drill(args)
    wanted = args.only.split(",") if args.only else list(DRILLS)
    results, lost = [], (0, 0, 0, 0)
    try:
        print("building three regions", flush=True)
        await drill.build()
        status, text, _ = await exchange(drill.regions["eu-west-1"].nodes[0].port, "POST", "/key/generate", {"key_alias": "drill"}, timeout=30)
        drill.key = dechunked(text)["key"]
        names = asyncio.create_task(drill.names())
        for node in drill.nodes():
            async def known(node=node):
                status, _, _ = await exchange(node.port, "POST", "/v1/chat/completions",
                                              {"model": "fast", "messages": []}, drill.key, 30)
                return status != 401
            await drill.until(known, 60, f"the key on {node.name}")
            node.ready = True
        drill.began = time.monotonic()
        users = asyncio.create_task(drill.users())
        await rest(drill, 10)
        for name in wanted:
            print(f"== {name}", flush=True)
            begin = time.monotonic() - drill.began
            await DRILLS[name][0](drill)
            results.append(judged(drill, name, begin, time.monotonic() - drill.began))
            print(f"  {results[-1]}", flush=True)
        drill.stop.set()
        await users
        await names
        lost = await drill.settled()
        return report(drill, results, lost)
    finally:
        await drill.end()


def report(drill, results, lost):
    out = pathlib.Path(drill.args.out)
    out.mkdir(parents=True, exist_ok=True)
    missing, twice, off, estimated = lost
    steady = judged(drill, "before", 0, drill.events[0][0] if drill.events else 10)
    lines = ["# Region drills", "",
             f"`loadtest/drill.py`, {time.strftime('%Y-%m-%d', time.gmtime())}: three regions of two gateways, a Redis and a Postgres each, on one machine of "
             f"{os.cpu_count()} cores; round trips between regions 80, 160 and 230 ms; {drill.args.rate} streamed requests/s in an open loop, a third from each region. "
             "A client asks again twice, on another node, as SDKs do. `failed` is what its user saw.", "",
             "| drill | requests | failed | answered at the second or third try | RTO s | p99 first byte ms, during | after | passed |",
             "|---|---|---|---|---|---|---|---|"]
    good = True
    for one in results:
        limit = DRILLS[one["name"]][1]
        # A drill that nobody asked anything in shows nothing.
        passed = one["requests"] > 0 and (limit is None or one["rto"] <= limit)
        good &= passed
        lines.append(f"| {one['name']} | {one['requests']} | {one['failed']} | {one['retried']} | {one['rto']} "
                     f"(allowed {limit if limit is not None else '-'}) | {one['during']:.0f} | {one['after']:.0f} | {'yes' if passed else '**no**'} |")
    lines += ["", f"Before the first drill the p99 was {max(steady['during'], steady['after']):.0f} ms.", "",
              f"**RPO**: {missing} requests of {drill.sent} that the provider served are in no ledger, {twice} are there twice; "
              f"the dollars of those that are there differ from the provider's by {off / 1e9:.6f}. {estimated} ran in a process that was killed and "
              "are billed by estimate, marked as such.", ""]
    good &= missing == 0 and twice == 0 and off == 0
    if hasattr(drill, "overspend"):
        spent, limit, sent, bound = drill.overspend
        over = max(0, spent - limit)
        said = "`/budget/state` gives no bound for it" if bound is None else f"`/budget/state` bounds it by ${bound:.4f}"
        good &= bound is not None and over <= bound
        lines += [f"**Budget** of ${limit} raced for by six nodes in {sent} requests with a region cut off: ${spent:.4f} spent, ${over:.4f} over; {said} "
                  "([BUDGETS](../BUDGETS.md)).", ""]
    plot(out / "drill.svg", drill.samples, drill.events)
    lines += ["![requests, failures and first bytes over time](drill.svg)", "", "| second | what happened |", "|---|---|"]
    lines += [f"| {at:.0f} | {text} |" for at, text in drill.events]
    (out / "README.md").write_text("\n".join([*lines, ""]))
    print(f"report: {out / 'README.md'}; {'passed' if good else 'NOT passed'}")
    return good


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", help=f"of {', '.join(DRILLS)}")
    parser.add_argument("--rate", type=float, default=30, help="requests/s of all users")
    parser.add_argument("--scale", type=float, default=1.0, help="below 1: shorter waits, and a cut of 30 s")
    parser.add_argument("--out", default=str(ROOT / "target/loadtest/drill"))
    parser.add_argument("--target", default=os.environ.get("MERIDIAN_TARGET", str(ROOT / "target/release")))
    parser.add_argument("--keep", action="store_true", help="keep logs and data")
    args = parser.parse_args()
    return asyncio.run(play(args))


if __name__ == "__main__":
    sys.exit(0 if main() else 1)
