#!/usr/bin/env python3
"""LiteLLM under the demand of tests/regions: three regions of two proxies, keys with $1 under ten
times the demand, with one Redis for all regions or one in each. Prints a row per run.

    python3 -m venv /tmp/litellm && /tmp/litellm/bin/pip install 'litellm[proxy]==1.87.5'
    cargo build --example fake_provider
    /tmp/litellm/bin/python loadtest/budgets/litellm.py --provider target/debug/examples/fake_provider

LiteLLM's Postgres client needs an engine that it downloads when it is first used. This runs without:
keys come from a custom_auth hook with their budget, and pass LiteLLM's own checks, reservations and
counters in Redis (custom_auth_run_common_checks). What its Postgres would add is the spend of more
than proxy_batch_write_at (60 s) ago where Redis has forgotten it.
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

import aiohttp

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
from drill import Relay  # noqa: E402
from run import free_port  # noqa: E402

UPSTREAM_KEY = "sk-upstream-0123456789abcdef"
MASTER_KEY = "sk-master-0123456789abcdef"
ROUND_TRIPS_MS = {(0, 1): 80, (1, 2): 160, (0, 2): 230}
REGIONS, NODES = 3, 2
BUDGET, COST, DEMAND = 1.0, 0.01001, 10
KEYS = 2

CUSTOM_AUTH = '''
from litellm.proxy._types import UserAPIKeyAuth, hash_token

async def user_api_key_auth(request, api_key):
    hashed = hash_token(api_key)
    return UserAPIKeyAuth(api_key=hashed, token=hashed, max_budget=%s, spend=0.0)
'''


class Redis:
    def __init__(self):
        self.port, self.process = free_port(), None
        self.start()

    def start(self):
        command = ["redis-server", "--port", str(self.port), "--bind", "127.0.0.1"]
        command += ["--save", "", "--appendonly", "no"]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL)

    def kill(self):
        self.process.kill()
        self.process.wait()


class World:
    def __init__(self, arguments, shared):
        self.arguments, self.shared, self.children = arguments, shared, []

    async def __aenter__(self):
        self.dir = tempfile.mkdtemp(prefix="litellm-budgets-")
        self.provider_port = free_port()
        provider = [self.arguments.provider, "--port", str(self.provider_port), "--rows", "100000"]
        self.children.append(subprocess.Popen(provider, stdout=subprocess.DEVNULL))
        self.redis = [Redis() for _ in range(1 if self.shared else REGIONS)]
        self.links, self.ports = [], []
        with open(os.path.join(self.dir, "budget_auth.py"), "w") as file:
            file.write(CUSTOM_AUTH % BUDGET)
        for region in range(REGIONS):
            port = self.redis[0 if self.shared else region].port
            if self.shared and region:
                self.links.append(await Relay(port, ROUND_TRIPS_MS[(0, region)]).start())
                port = self.links[-1].port
            self.ports.append([self.proxy(region, node, port) for node in range(NODES)])
        try:
            await self.ready()
        except BaseException:
            await self.__aexit__()
            raise
        return self

    def proxy(self, region, node, redis_port):
        port = free_port()
        models = [f"fake-{self.arguments.tag}-{key}+tokens=20+prompt=10" for key in range(KEYS)]
        config = {
            "model_list": [
                {
                    "model_name": model,
                    "litellm_params": {
                        "model": f"openai/{model}",
                        "api_base": f"http://127.0.0.1:{self.provider_port}/v1",
                        "api_key": UPSTREAM_KEY,
                        "input_cost_per_token": 0.000001,
                        "output_cost_per_token": 0.0005,
                    },
                }
                for model in models
            ],
            "general_settings": {
                "master_key": MASTER_KEY,
                "custom_auth": "budget_auth.user_api_key_auth",
                "custom_auth_run_common_checks": True,
            },
            "litellm_settings": {
                "num_retries": 0,
                "cache": True,
                "cache_params": {
                    "type": "redis",
                    "host": "127.0.0.1",
                    "port": redis_port,
                    "supported_call_types": [],
                },
            },
            "router_settings": {"num_retries": 0, "disable_cooldowns": True},
        }
        path = os.path.join(self.dir, f"{region}-{node}.yaml")
        with open(path, "w") as file:
            json.dump(config, file)
        log = open(os.path.join(self.dir, f"{region}-{node}.log"), "w")
        program = os.path.join(os.path.dirname(sys.executable), "litellm")
        command = [program, "--config", path, "--port", str(port), "--host", "127.0.0.1"]
        environment = {"PATH": os.environ["PATH"], "HOME": self.dir, "LITELLM_LOG": "WARNING"}
        environment["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
        if self.arguments.redis_timeout:
            environment["REDIS_SOCKET_TIMEOUT"] = self.arguments.redis_timeout
        self.children.append(
            subprocess.Popen(command, env=environment, stdout=log, stderr=log, cwd=self.dir)
        )
        return port

    async def ready(self):
        deadline = time.monotonic() + 300
        async with aiohttp.ClientSession() as session:
            for port in [port for ports in self.ports for port in ports]:
                while True:
                    try:
                        async with session.get(f"http://127.0.0.1:{port}/health/liveliness") as up:
                            if up.status == 200:
                                break
                    except aiohttp.ClientError:
                        pass
                    if time.monotonic() > deadline:
                        sys.exit("LiteLLM does not start: " + self.logs())
                    await asyncio.sleep(0.5)

    def logs(self):
        name = os.path.join(self.dir, "0-0.log")
        with open(name) as file:
            return file.read()[-3000:]

    async def __aexit__(self, *_):
        for child in self.children:
            child.send_signal(signal.SIGKILL)
            child.wait()
        for redis in self.redis:
            redis.kill()
        if not self.arguments.keep:
            shutil.rmtree(self.dir)


async def use(world, scenario, length):
    """Open loop; counts statuses by key."""
    counts = [{} for _ in range(KEYS)]
    per_region = DEMAND * BUDGET / COST / length / REGIONS
    schedule = sorted(
        ((number + 0.1 * region) / per_region, key, region, number)
        for key in range(KEYS)
        for region in range(REGIONS)
        for number in range(int(per_region * length))
    )
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector) as session:

        async def ask(key, region, number):
            model = f"fake-{world.arguments.tag}-{key}+tokens=20+prompt=10"
            body = {"model": model, "max_tokens": 20}
            body["messages"] = [{"role": "user", "content": "hello"}]
            url = f"http://127.0.0.1:{world.ports[region][number % NODES]}/v1/chat/completions"
            headers = {"Authorization": f"Bearer sk-budget-{world.arguments.tag}-{key}"}
            try:
                async with session.post(url, json=body, headers=headers) as answer:
                    text, status = await answer.text(), answer.status
                    if status != 200 and "udget has been exceeded" in text:
                        status = "budget"
                    elif status != 200 and world.arguments.verbose:
                        print(status, text[:300], file=sys.stderr)
            except (aiohttp.ClientError, asyncio.TimeoutError) as error:
                status = type(error).__name__
            counts[key][status] = counts[key].get(status, 0) + 1

        began, running, broken = time.monotonic(), [], False
        for at, key, region, number in schedule:
            await asyncio.sleep(max(0, began + at - time.monotonic()))
            if not broken and at >= 0.05 * length:
                broken = True
                break_it(world, scenario)
            running.append(asyncio.create_task(ask(key, region, number)))
        await asyncio.gather(*running)
    for link in world.links:
        link.set_silent(False)
    return counts


def break_it(world, scenario):
    if scenario == "redis killed":
        for redis in world.redis:
            redis.kill()
    if scenario == "partition":
        for link in world.links:
            link.set_silent(True)


async def billed(world):
    url = f"http://127.0.0.1:{world.provider_port}/__meter?rows=1"
    async with aiohttp.ClientSession() as session, session.get(url) as answer:
        rows = (await answer.json(content_type=None))["rows"]
    sums = [0.0] * KEYS
    for row in rows:
        if row["status"] == 200:
            key = int(row["model"].split("+")[0].rsplit("-", 1)[1])
            sums[key] += row["prompt_tokens"] * 1e-6 + row["completion_tokens"] * 5e-4
    return sums


async def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--provider", required=True, help="the binary of examples/fake_provider")
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--only", default="", help="runs whose name holds this")
    parser.add_argument("--redis-timeout", help="REDIS_SOCKET_TIMEOUT; LiteLLM's own is 0.1 s")
    parser.add_argument("--verbose", action="store_true", help="print what else was answered")
    parser.add_argument("--keep", action="store_true", help="keep logs and configurations")
    arguments = parser.parse_args()
    print("| Redis | scenario | key | asked | served | refused for money | other | billed $ | over % |")
    print("|---|---|---|---|---|---|---|---|---|", flush=True)
    for shared in (True, False):
        name = "one, in the first region" if shared else "one in each region"
        for number, scenario in enumerate(("calm", "redis killed", "partition")):
            if arguments.only not in f"{name} {scenario}":
                continue
            arguments.tag = f"{'one' if shared else 'each'}{number}"
            async with World(arguments, shared) as world:
                counts = await use(world, scenario, arguments.seconds)
                for key, cost in enumerate(await billed(world)):
                    statuses = dict(counts[key])
                    asked = sum(statuses.values())
                    served, money = statuses.pop(200, 0), statuses.pop("budget", 0)
                    over = max(0, cost - BUDGET) * 100
                    print(
                        f"| {name} | {scenario} | {key} | {asked} | {served} | {money} "
                        f"| {statuses or 0} | {cost:.3f} | {over:.1f} |",
                        flush=True,
                    )


asyncio.run(main())
