"""Packets that nobody hears of any more: nftables in a network namespace that the drill makes for itself.

Everything of a drill talks over loopback. In a namespace of its own that is a network like any other, in which
packets can be dropped by port without a word to either side, and nothing outside of it notices.
"""
import os
import re
import shutil
import subprocess
import sys

INSIDE = "MERIDIAN_DRILL_NAMESPACE"
TABLE = """table inet drill {
  set swallowed { type inet_service; }
  chain packets {
    type filter hook input priority 0;
    tcp dport @swallowed counter drop
    tcp sport @swallowed counter drop
  }
}
"""


def missing():
    """Why there can be no black holes here; None if there can."""
    if os.geteuid() != 0:
        return "it needs root"
    for program, package in (("unshare", "util-linux"), ("ip", "iproute2"), ("nft", "nftables")):
        if not shutil.which(program):
            return f"{program} is missing (apt-get install {package})"
    tried = subprocess.run(["unshare", "--net", "sh", "-c", "ip link set lo up && nft -f -"], input=TABLE, text=True,
                           stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    return None if tried.returncode == 0 else f"the kernel refuses: {tried.stdout.strip()[:200]}"


def enter():
    """Goes on in a namespace of its own, from the beginning of the program; returns inside of it, or where there can be none."""
    if os.environ.get(INSIDE):
        subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
        nft(TABLE)
        return None
    why = missing()
    if why is None:
        os.environ[INSIDE] = "1"
        os.execvp("unshare", ["unshare", "--net", sys.executable, *sys.argv])
    return why


def nft(text):
    return subprocess.run(["nft", "-f", "-"], input=text, text=True, check=True)


def swallow(ports):
    """No packet to or from these ports arrives from now on."""
    nft(f"add element inet drill swallowed {{ {', '.join(map(str, ports))} }}\n")


def release():
    """Packets arrive again; returns how many did not."""
    listed = subprocess.run(["nft", "list", "table", "inet", "drill"], check=True, text=True, stdout=subprocess.PIPE).stdout
    nft("flush set inet drill swallowed\n")
    return sum(map(int, re.findall(r"counter packets (\d+)", listed)))
