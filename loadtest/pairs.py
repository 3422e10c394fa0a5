#!/usr/bin/env python3
"""CPU of the whole gateway for each token of a stream: passed through, and told in another dialect.

    loadtest/pairs.py                          each pair in turn, six rounds
    loadtest/pairs.py --streams 200 --rounds 3

The provider writes 250 tokens a stream, one each 20 ms and one to an event; streams begin one after the other, so that
as many run at a time. Gateway on core 0 with a key, budget, limits, journal, ledger and metrics on; client (that of
`light.py`) and provider on the others. Pairs take turns, so that what else the machine does meets all of them. A ratio
is that of a translated stream to the same provider's stream passed through. Needs `cargo build --release --examples`.
"""
import argparse
import json
import os
import statistics

import costs
import light
import run

TOKENS = 250
# The provider's dialect, its model's name here, and how a caller of the dialect asks.
PROVIDERS = {"chat": "dense-stream", "messages": "dense-claude"}
ASKS = {
    "chat": ("/v1/chat/completions", {"stream_options": {"include_usage": True}}),
    "messages": ("/v1/messages", {"max_tokens": 1000}),
    "responses": ("/v1/responses", {}),
}
PAIRS = [("chat", "chat"), ("chat", "messages"), ("messages", "messages"), ("messages", "chat"),
         ("messages", "responses")]


def question(port, key, model, caller):
    path, more = ASKS[caller]
    asked = "input" if caller == "responses" else "messages"
    fields = {"model": model, asked: [{"role": "user", "content": "x" * 900}], "stream": True, **more}
    return light.asking(port, key, path, fields)


def ratios(figures):
    """Of the median of each translated pair to that of its provider's stream passed through."""
    medians = {pair: statistics.median(values) for pair, values in figures.items()}
    return {(provider, caller): cost / medians[provider, provider]
            for (provider, caller), cost in medians.items() if caller != provider}


def turn(args, gateway, port, key, pair):
    """CPU microseconds of the gateway for a token of this pair."""
    provider, caller = pair
    request = question(port, key, PROVIDERS[provider], caller)
    before = run.cpu_seconds(gateway.pid)
    figures = light.streams(port, request, args, light.ENDS[caller])
    return (run.cpu_seconds(gateway.pid) - before) / (figures["streams"] * TOKENS) * 1e6


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--streams", type=int, default=100, help="at a time")
    parser.add_argument("--seconds", type=int, default=10, help="in which streams begin, of one turn")
    parser.add_argument("--rounds", type=int, default=6, help="turns of each pair")
    parser.add_argument("--target", default=os.environ.get("MERIDIAN_TARGET", str(run.ROOT / "target/release")))
    args = parser.parse_args()
    args.burst = False
    stage = light.quiet_stage(args)
    try:
        _, upstream = stage.provider()
        gateway, port, _ = stage.gateway([upstream])
        key = costs.make_key(port)
        figures = {pair: [] for pair in PAIRS}
        for pair in PAIRS:
            turn(args, gateway, port, key, pair)
        for _ in range(args.rounds):
            for pair in PAIRS:
                figures[pair].append(turn(args, gateway, port, key, pair))
        shown(args, figures)
    finally:
        stage.end()


def shown(args, figures):
    print(f"load of the machine: {os.getloadavg()[0]:.1f}; medians of {args.rounds} rounds (least to most)")
    print("| provider -> caller | CPU us/token, beginnings included | x passed through |\n|---|---|---|")
    times = ratios(figures)
    for pair, values in figures.items():
        ratio = f"{times[pair]:.2f}" if pair in times else "passed through"
        print(f"| {pair[0]} -> {pair[1]} | {statistics.median(values):.2f} ({min(values):.2f} to {max(values):.2f}) "
              f"| {ratio} |", flush=True)


if __name__ == "__main__":
    main()
