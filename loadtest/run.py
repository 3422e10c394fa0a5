#!/usr/bin/env python3
"""Starts the fake provider, the gateway and its peers, and runs k6 against them.

    loadtest/run.py smoke                    one script of loadtest/k6 against the gateway
    loadtest/run.py all --seconds 20         all scripts, each scaled to 20 seconds
    loadtest/run.py compare                  the gateway beside nginx, bare Pingora and LiteLLM
    loadtest/run.py upgrade                  the program is changed ten times under load

Needs k6 (`go install go.k6.io/k6@v1.3.0`) and a release build (`cargo build --release --examples`).
Everything listens on the loopback interface and is ended when the run ends.
"""
import argparse
import json
import os
import pathlib
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parent.parent
SCRIPTS = ["smoke", "sustained", "spike", "stream", "budget_race", "failover", "soak", "upgrade"]
UPGRADES = 10
ALONE = "the provider alone"
MASTER = "sk-load-master"
UPSTREAM_KEY = "sk-upstream"
# What a key has when a gateway is measured with everything on: a budget and limits that are never reached.
EVERYTHING_ON = {"max_budget": 1000000, "budget_duration": "30d", "rpm_limit": 100000000,
                 "tpm_limit": 100000000000, "max_parallel_requests": 100000}
TICK = os.sysconf("SC_CLK_TCK")


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def wait_for(port, child, name, seconds=60):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if child.poll() is not None:
            sys.exit(f"{name} ended with {child.returncode} before it listened")
        with socket.socket() as one:
            if one.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    sys.exit(f"{name} does not listen on {port}")


def tree(pid):
    """A process and those that it started."""
    found = [pid]
    for entry in pathlib.Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = entry.read_text().rsplit(")", 1)[1].split()
        except (OSError, IndexError):
            continue
        if int(fields[1]) in found:
            found.append(int(entry.parent.name))
    return found


def cpu_seconds(pid):
    total = 0
    for one in tree(pid):
        try:
            fields = pathlib.Path(f"/proc/{one}/stat").read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue
        total += int(fields[11]) + int(fields[12])
    return total / TICK


def rss_mib(pid):
    pages = 0
    for one in tree(pid):
        try:
            pages += int(pathlib.Path(f"/proc/{one}/statm").read_text().split()[1])
        except OSError:
            continue
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


class Stage:
    """Processes of one run; all are ended with it."""

    def __init__(self, args):
        self.args = args
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="meridian-load-"))
        self.children = []

    def start(self, name, command, core, port, env=None):
        if shutil.which("taskset") and (os.cpu_count() or 1) > 1:
            command = ["taskset", "-c", str(core), *map(str, command)]
        log = open(self.dir / f"{name}.log", "ab")
        environ = {**os.environ, **(env or {})}
        child = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, env=environ)
        self.children.append(child)
        wait_for(port, child, name, 180)
        return child

    def program(self, name, target=None):
        """A program of the build, or of another one."""
        path = pathlib.Path(target or self.args.target) / name
        if not path.exists():
            sys.exit(f"{path} is missing: cargo build --release --examples")
        return path

    def provider(self, name="provider", port=None):
        port = port or free_port()
        program = self.program("examples/fake_provider")
        command = [program, "--port", port, "--key", UPSTREAM_KEY]
        return self.start(name, command, 1, port), port

    def gateway_command(self, ports, target=None, settings=""):
        """A gateway on a port, with a configuration and a data directory of its own."""
        port = free_port()
        config = self.dir / f"config-{port}.yaml"
        config.write_text(gateway_config(ports, settings))
        return [self.program("meridian", target), "serve", "--config", config, "--host", "127.0.0.1", "--port", port,
                "--data-dir", self.dir / f"data-{port}"], port, config

    def gateway(self, ports, target=None, settings="", env=None):
        command, port, config = self.gateway_command(ports, target, settings)
        return self.start("meridian", command, 0, port, env), port, config

    def end(self):
        for child in self.children:
            if child.poll() is None:
                child.send_signal(signal.SIGINT)
        for child in self.children:
            try:
                child.wait(5)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()
        if not self.args.keep:
            shutil.rmtree(self.dir, ignore_errors=True)


def gateway_config(ports, settings=""):
    """`settings` are further ones of `litellm_settings`."""
    def model(name, upstream, port, more=""):
        return (f"  - model_name: {name}\n    litellm_params: {{model: 'openai/{upstream}', "
                f"api_base: 'http://127.0.0.1:{port}/v1', api_key: {UPSTREAM_KEY}, "
                f"input_cost_per_token: 0.0000001, output_cost_per_token: 0.000001{more}}}\n")
    text = "model_list:\n"
    text += model("fast", "fake+tokens=8", ports[0])
    text += model("slow-stream", "fake+tokens=50+chunk_ms=100", ports[0])
    text += model("dense-stream", "fake+tokens=250+chunk_ms=20", ports[0])
    text += (f"  - model_name: dense-claude\n    litellm_params: {{model: 'anthropic/fake+tokens=250+chunk_ms=20', "
             f"api_base: 'http://127.0.0.1:{ports[0]}', api_key: {UPSTREAM_KEY}, "
             f"input_cost_per_token: 0.0000001, output_cost_per_token: 0.000001}}\n")
    text += model("broken", "fake+status=500", ports[0], ", num_retries: 0")
    for port in ports:
        text += model("pair", "fake+tokens=8", port)
    text += (f"  - model_name: claude\n    litellm_params: {{model: 'anthropic/fake+tokens=8', "
             f"api_base: 'http://127.0.0.1:{ports[0]}', api_key: {UPSTREAM_KEY}, "
             f"input_cost_per_token: 0.0000001, output_cost_per_token: 0.000001}}\n")
    text += f"general_settings: {{master_key: {MASTER}}}\n"
    text += f"litellm_settings: {{callbacks: [prometheus], {settings}require_auth_for_metrics_endpoint: false}}\n"
    text += "router_settings: {num_retries: 3, timeout: 60}\n"
    return text


def k6(args, script, port, summary, env=None, quiet=False):
    """Runs a script; whether its thresholds held, and its figures."""
    program = shutil.which("k6") or shutil.which("k6", path=os.path.expanduser("~/go/bin"))
    if not program:
        sys.exit("k6 is missing: go install go.k6.io/k6@v1.3.0")
    environ = {**os.environ, "BASE_URL": f"http://127.0.0.1:{port}", "MASTER_KEY": MASTER,
               "SUMMARY": str(summary), "K6_NO_USAGE_REPORT": "true", **(env or {})}
    if args.seconds:
        environ["SECONDS"] = str(args.seconds)
    path = ROOT / "loadtest/k6" / f"{script}.js"
    command = [program, "run", "--quiet", "--no-usage-report",
               f"--log-output=file={summary.parent / 'k6.log'}", str(path)]
    ran = subprocess.run(command, env=environ, stdout=subprocess.PIPE if quiet else None)
    figures = json.loads(summary.read_text()) if summary.exists() else {"metrics": {}}
    return ran.returncode == 0, figures


def reload_each_minute(config, stop):
    text, turn = config.read_text(), 0
    while not stop.wait(60):
        turn += 1
        config.write_text(f"{text}# reload {turn}\n")


def watch_memory(pid, samples, stop, path):
    """Samples every five seconds, and a file of them: a slope does not say whether memory grew in a step."""
    began = time.monotonic()
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as out:
        out.write("seconds,rss_mib,descriptors\n")
        while not stop.wait(5):
            fds = len(os.listdir(f"/proc/{pid}/fd"))
            samples.append((time.monotonic() - began, rss_mib(pid), fds))
            out.write("{:.0f},{:.1f},{}\n".format(*samples[-1]))
            out.flush()


def kill_and_revive(stage, child, port, total):
    time.sleep(total / 3)
    child.kill()
    print(f"  {total / 3:.0f} s: the first provider is killed")
    time.sleep(total / 3)
    stage.provider("provider-again", port)
    print(f"  {2 * total / 3:.0f} s: it is back")


def slope(samples):
    """MiB per hour after the first third of the run, and how descriptors moved."""
    late = samples[len(samples) // 3:]
    if len(late) < 3:
        return 0.0, 0
    mean_t = sum(t for t, _, _ in late) / len(late)
    mean_m = sum(m for _, m, _ in late) / len(late)
    over = sum((t - mean_t) * (m - mean_m) for t, m, _ in late)
    under = sum((t - mean_t) ** 2 for t, _, _ in late) or 1
    return over / under * 3600, max(f for _, _, f in late) - min(f for _, _, f in late)


def run_script(args, script):
    stage = Stage(args)
    try:
        first, first_port = stage.provider()
        _, second_port = stage.provider("provider-2")
        gateway, port, config = stage.gateway([first_port, second_port])
        stop, samples, threads = threading.Event(), [], []
        if script == "soak":
            threads.append(threading.Thread(target=reload_each_minute, args=(config, stop)))
        threads.append(threading.Thread(target=watch_memory, args=(
            gateway.pid, samples, stop, pathlib.Path(args.samples) / f"memory-{script}.csv")))
        if script == "failover":
            total = args.seconds or 60
            threads.append(threading.Thread(target=kill_and_revive, args=(stage, first, first_port, total)))
        for thread in threads:
            thread.start()
        print(f"== {script}", flush=True)
        held, figures = k6(args, script, port, stage.dir / "summary.json")
        stop.set()
        for thread in threads:
            thread.join()
        growth, moved = slope(samples)
        print(f"  gateway: {rss_mib(gateway.pid):.0f} MiB, {growth:+.1f} MiB/h after warm-up, "
              f"descriptors moved by {moved}")
        print(f"== {script}: {'held' if held else 'BROKEN'}", flush=True)
        return held
    finally:
        stage.end()


def serving(data_dir):
    """Processes that serve from a data directory: after an upgrade they are no children of ours."""
    for lock in [data_dir / "lock", *data_dir.glob("life-*/lock")]:
        text = lock.read_text().strip() if lock.exists() else ""
        if text.isdigit() and pathlib.Path(f"/proc/{text}").exists():
            yield int(text)


def change_program(data_dir, upgrades, pause, done):
    for number in range(upgrades):
        time.sleep(pause)
        before = set(serving(data_dir))
        for pid in before:
            os.kill(pid, signal.SIGUSR2)
        deadline = time.monotonic() + 120
        while not (after := set(serving(data_dir)) - before):
            if time.monotonic() > deadline:
                print(f"  change {number + 1}: no new process serves after 120 s", flush=True)
                return
            time.sleep(0.1)
        done.append(after)
        print(f"  change {number + 1}: process {min(after)} serves", flush=True)


def rows_of(data_dir):
    with sqlite3.connect(f"file:{data_dir}/meridian.db?mode=ro", uri=True) as ledger:
        return ledger.execute("SELECT count(*), count(DISTINCT call_id), coalesce(sum(estimated), 0), "
                              "coalesce(sum(cost), 0) FROM spend_log").fetchone()


def upgrade(args):
    """Changes the program ten times under load; every request that the provider served is in the ledger once."""
    stage = Stage(args)
    data_dir = None
    try:
        _, provider = stage.provider()
        _, port, _ = stage.gateway([provider])
        data_dir = stage.dir / f"data-{port}"
        done, total = [], args.seconds or 180
        changes = threading.Thread(target=change_program, args=(data_dir, UPGRADES, total / (UPGRADES + 2), done))
        changes.start()
        print(f"== upgrade: load of the machine {os.getloadavg()[0]:.1f}", flush=True)
        held, figures = k6(args, "upgrade", port, stage.dir / "summary.json")
        changes.join()
        served = json.load(urllib.request.urlopen(f"http://127.0.0.1:{provider}/__meter"))["totals"]["requests"]
        deadline = time.monotonic() + 60
        while (rows := rows_of(data_dir))[0] < served and time.monotonic() < deadline:
            time.sleep(1)
        print(f"  {len(done)} changes; provider served {served} requests; ledger has {rows[0]} rows, {rows[1]} calls, "
              f"{rows[2]} estimated, ${rows[3] / 1e9:.6f}")
        held = held and len(done) == UPGRADES and rows[0] == rows[1] == served and rows[2] == 0
        print(f"== upgrade: {'held' if held else 'BROKEN'}", flush=True)
        return held
    finally:
        for pid in serving(data_dir) if data_dir else []:
            os.kill(pid, signal.SIGINT)
        stage.end()


def nginx_config(directory, port, upstream):
    path = directory / "nginx.conf"
    temp = " ".join(f"{name}_temp_path {directory}/{name};" for name in
                    ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    path.write_text(
        f"daemon off; master_process off; worker_processes 1; pid {directory}/nginx.pid;\n"
        f"error_log {directory}/nginx-error.log; events {{ worker_connections 20000; }}\n"
        f"http {{ access_log off; {temp}\n"
        f"upstream up {{ server 127.0.0.1:{upstream}; keepalive 256; }}\n"
        f"server {{ listen 127.0.0.1:{port}; keepalive_requests 100000000; tcp_nodelay on;\n"
        f"location / {{ proxy_pass http://up; proxy_http_version 1.1; proxy_buffering off;\n"
        f"proxy_set_header Connection \"\"; proxy_set_header Authorization \"Bearer {UPSTREAM_KEY}\"; }} }} }}\n")
    return path


def litellm_program(args):
    if args.litellm:
        return args.litellm
    venv = ROOT / "target/litellm"
    if args.install_litellm and not (venv / "bin/litellm").exists():
        subprocess.run([sys.executable, "-m", "venv", str(venv)], check=True)
        subprocess.run([str(venv / "bin/pip"), "install", "--quiet", "litellm[proxy]==1.87.1"], check=True)
    path = venv / "bin/litellm"
    return str(path) if path.exists() else shutil.which("litellm")


def proxies(stage, upstream):
    """Those that are installed: name, process, port, and the credential that requests carry."""
    if nginx := shutil.which("nginx", path=os.environ["PATH"] + ":/usr/sbin"):
        port = free_port()
        config = nginx_config(stage.dir, port, upstream)
        yield "nginx", stage.start("nginx", [nginx, "-c", config], 0, port), port, "any"
    bare = pathlib.Path(stage.args.target) / "examples/bare_proxy"
    if bare.exists():
        port = free_port()
        child = stage.start("bare-pingora", [bare, port, upstream], 0, port)
        yield "bare Pingora", child, port, UPSTREAM_KEY


def peers(args, stage, upstream, provider):
    """What is installed, as `proxies`; without a credential where a key is to be made."""
    yield ALONE, provider, upstream, UPSTREAM_KEY
    yield from proxies(stage, upstream)
    child, port, _ = stage.gateway([upstream])
    yield "Meridian", child, port, None
    if program := litellm_program(args):
        port = free_port()
        config = stage.dir / "litellm.yaml"
        # Without its metrics, which want a package of their own: in its favour.
        config.write_text(gateway_config([upstream]).replace("callbacks: [prometheus], ", ""))
        command = [program, "--config", config, "--host", "127.0.0.1", "--port", port, "--num_workers", 1]
        child = stage.start("litellm", command, 0, port, {"LITELLM_LOCAL_MODEL_COST_MAP": "True"})
        yield "LiteLLM", child, port, MASTER


def post(port, path, fields):
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}{path}", json.dumps(fields).encode(),
        {"Content-Type": "application/json", "Authorization": f"Bearer {MASTER}"})
    return json.load(urllib.request.urlopen(request, timeout=30))


def compare(args):
    stage = Stage(args)
    try:
        provider, upstream = stage.provider()
        rows = []
        for name, child, port, key in peers(args, stage, upstream, provider):
            key = key or post(port, "/key/generate", EVERYTHING_ON)["key"]
            model = "fast" if name in ("Meridian", "LiteLLM") else "fake+tokens=8"
            rate = args.rate if name != "LiteLLM" else min(args.rate, 30)
            env = {"KEY": key, "MODEL": model, "RATE": str(rate), "SECONDS": str(args.seconds or 20)}
            k6(args, "compare", port, stage.dir / "warm.json", {**env, "SECONDS": "3"}, quiet=True)
            before = cpu_seconds(child.pid)
            held, figures = k6(args, "compare", port, stage.dir / "summary.json", env, quiet=True)
            spent = cpu_seconds(child.pid) - before
            metrics = figures["metrics"]
            count = metrics["http_reqs"]["values"]["count"]
            duration = metrics["http_req_duration"]["values"]
            rows.append({"name": name, "cpu_us": spent / max(count, 1) * 1e6, "rate": rate, "ok": held,
                         "p50_ms": duration["med"], "p99_ms": duration["p(99)"], "rss": rss_mib(child.pid)})
            if name != ALONE:
                child.terminate()
        alone = rows.pop(0)
        print(f"load of the machine {os.getloadavg()[0]:.1f}; {ALONE}: p50 {alone['p50_ms']:.2f} ms, "
              f"p99 {alone['p99_ms']:.2f} ms, which is taken off below")
        for row in rows:
            row["p50_ms"] -= alone["p50_ms"]
            row["p99_ms"] -= alone["p99_ms"]
        table(rows)
        picture(rows, pathlib.Path(args.picture))
        return all(row["ok"] for row in rows)
    finally:
        stage.end()


def table(rows):
    bare = next((row["cpu_us"] for row in rows if row["name"] == "bare Pingora"), None)
    print("| system | requests/s | CPU us/request | x bare Pingora | added p50 ms | added p99 ms | RSS MiB |")
    print("|---|---|---|---|---|---|---|")
    for row in rows:
        ratio = f"{row['cpu_us'] / bare:.2f}" if bare else "-"
        print(f"| {row['name']} | {row['rate']} | {row['cpu_us']:.0f} | {ratio} | {row['p50_ms']:.2f} "
              f"| {row['p99_ms']:.2f} | {row['rss']:.0f} |")


def picture(rows, path):
    """Bars of CPU per request on a logarithmic scale: LiteLLM is two orders away."""
    import math
    width, left, height = 720, 130, 34
    top = max(row["cpu_us"] for row in rows)
    scale = (width - left - 90) / max(math.log10(max(top, 10)) - 1, 0.1)
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{len(rows) * height + 50}" '
             'font-family="sans-serif" font-size="13">',
             '<text x="10" y="20">CPU per request in microseconds, one core (logarithmic)</text>']
    for index, row in enumerate(rows):
        y = 34 + index * height
        bar = max(2, (math.log10(max(row["cpu_us"], 10)) - 1) * scale)
        color = "#2563eb" if row["name"] == "Meridian" else "#94a3b8"
        parts.append(f'<text x="{left - 8}" y="{y + 17}" text-anchor="end">{row["name"]}</text>'
                     f'<rect x="{left}" y="{y}" width="{bar:.0f}" height="24" fill="{color}"/>'
                     f'<text x="{left + bar + 6:.0f}" y="{y + 17}">{row["cpu_us"]:.0f}</text>')
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join([*parts, "</svg>", ""]))
    print(f"picture: {path}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=[*SCRIPTS, "all", "compare"])
    parser.add_argument("--seconds", type=int, help="length of each script (default: its own)")
    parser.add_argument("--rate", type=int, default=1000, help="requests/s of `compare`")
    parser.add_argument("--target", default=os.environ.get("MERIDIAN_TARGET", str(ROOT / "target/release")))
    parser.add_argument("--picture", default=str(ROOT / "target/loadtest/compare.svg"))
    parser.add_argument("--samples", default=str(ROOT / "target/loadtest"), help="folder of the memory samples")
    parser.add_argument("--litellm", help="LiteLLM's program; else target/litellm or the one in PATH")
    parser.add_argument("--install-litellm", action="store_true", help="from PyPI into target/litellm")
    parser.add_argument("--keep", action="store_true", help="keep logs and data of the run")
    args = parser.parse_args()
    if args.what == "compare":
        return compare(args)
    scripts = SCRIPTS if args.what == "all" else [args.what]
    results = [upgrade(args) if script == "upgrade" else run_script(args, script) for script in scripts]
    return all(results)


if __name__ == "__main__":
    sys.exit(0 if main() else 1)
