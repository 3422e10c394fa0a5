"""What the figures of load tests and drills are made of; `tests/ops/loadtest.rs` runs these."""
import argparse
import asyncio
import json
import math
import os
import pathlib
import tempfile
import unittest

import drill
import light
import pairs
import run


class Memory(unittest.TestCase):
    def test_a_slope_is_in_mib_an_hour_and_leaves_the_first_third_out(self):
        warm_up = [(second, 10.0 * second, 5) for second in range(0, 30, 5)]
        steady = [(second, 100 + second / 360, 5) for second in range(30, 90, 5)]
        growth, moved = run.slope(warm_up + steady)
        self.assertAlmostEqual(growth, 10.0)
        self.assertEqual(moved, 0)

    def test_descriptors_are_told_from_the_least_to_the_most(self):
        self.assertEqual(run.slope([(at, 1.0, fds) for at, fds in enumerate([9, 9, 9, 3, 8, 4, 5, 5, 5])])[1], 5)

    def test_too_few_samples_have_no_slope(self):
        self.assertEqual(run.slope([(0, 1.0, 1), (5, 9.0, 1)]), (0.0, 0))


class Percentiles(unittest.TestCase):
    def test_the_value_below_which_a_share_lies(self):
        self.assertEqual(light.percentile(range(100, 0, -1), 0.5), 51)
        self.assertEqual(light.percentile(range(1, 101), 0.99), 100)
        self.assertEqual(light.percentile([7], 0.99), 7)
        self.assertTrue(math.isnan(light.percentile([], 0.5)))


class Pairs(unittest.TestCase):
    def test_a_translated_stream_is_held_against_its_providers_own(self):
        figures = {("chat", "chat"): [4, 2, 3], ("chat", "messages"): [6, 5, 9], ("messages", "messages"): [2],
                   ("messages", "chat"): [3]}
        self.assertEqual(pairs.ratios(figures), {("chat", "messages"): 2.0, ("messages", "chat"): 1.5})

    def test_each_caller_asks_in_its_own_dialect(self):
        for caller, path, field in [("chat", "/v1/chat/completions", "messages"), ("messages", "/v1/messages", "messages"),
                                    ("responses", "/v1/responses", "input")]:
            head, body = pairs.question(1, "sk-1", "m", caller).split(b"\r\n\r\n")
            self.assertTrue(head.startswith(f"POST {path} ".encode()), head)
            self.assertIn(field, json.loads(body))


def sample(at, whole=True, attempt=0, first_s=0.01):
    return at, "eu-west-1", "eu-west-1", whole, attempt, first_s, 200 if whole else 503


def judged(*samples):
    return drill.judged(argparse.Namespace(samples=samples), "a drill", 10, 20)


class Judgement(unittest.TestCase):
    def test_only_what_began_during_the_drill_counts(self):
        found = judged(sample(9.9, whole=False), sample(10), sample(19.9), sample(20, whole=False))
        self.assertEqual((found["requests"], found["failed"], found["rto"]), (2, 0, 0))

    def test_rto_is_from_the_first_second_with_a_failure_to_the_last(self):
        found = judged(sample(11.2, whole=False), sample(12.5), sample(14.9, whole=False))
        self.assertEqual((found["failed"], found["rto"]), (2, 4))

    def test_what_a_second_try_mended_is_no_failure(self):
        found = judged(sample(11, attempt=1), sample(12, whole=False, attempt=2))
        self.assertEqual((found["retried"], found["failed"]), (1, 1))

    def test_the_last_third_is_afterwards(self):
        found = judged(sample(12, first_s=0.5), sample(18, first_s=0.02), sample(19, whole=False, first_s=9))
        self.assertEqual((found["during"], found["after"]), (500, 20))


class Places(unittest.TestCase):
    def test_distances_are_the_same_both_ways(self):
        self.assertEqual(drill.distance("us-east-1", "eu-west-1"), drill.distance("eu-west-1", "us-east-1"))
        self.assertEqual(drill.distance("eu-west-1", "eu-west-1"), 0)

    def test_a_process_serves_as_long_as_it_lives(self):
        with tempfile.TemporaryDirectory() as folder:
            data = pathlib.Path(folder)
            self.assertEqual(list(run.serving(data)), [])
            (data / "lock").write_text("999999999\n")
            (data / "life-1").mkdir()
            (data / "life-1" / "lock").write_text(f"{os.getpid()}\n")
            self.assertEqual(list(run.serving(data)), [os.getpid()])


async def echo(reader, writer):
    while data := await reader.read(100):
        writer.write(data)
    writer.close()


class Relays(unittest.IsolatedAsyncioTestCase):
    async def asyncSetUp(self):
        self.server = await asyncio.start_server(echo, "127.0.0.1", 0)
        self.relay = await drill.Relay(self.server.sockets[0].getsockname()[1], 20).start()
        self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self.relay.port)

    async def asyncTearDown(self):
        self.writer.close()
        self.relay.server.close()
        self.server.close()

    async def test_bytes_arrive_in_order_and_not_before_a_round_trip(self):
        clock = asyncio.get_running_loop().time
        began = clock()
        for piece in (b"one ", b"two ", b"three"):
            self.writer.write(piece)
        self.assertEqual(await self.reader.readexactly(13), b"one two three")
        self.assertGreaterEqual(clock() - began, 0.019)

    async def test_a_silent_relay_passes_nothing_and_what_waited_comes_late(self):
        self.relay.set_silent(True)
        self.writer.write(b"hello")
        with self.assertRaises(asyncio.TimeoutError):
            await asyncio.wait_for(asyncio.shield(first := asyncio.ensure_future(self.reader.readexactly(5))), 0.2)
        self.relay.set_silent(False)
        self.assertEqual(await asyncio.wait_for(first, 20), b"hello")

    async def test_a_cut_ends_connections_and_lets_nobody_in(self):
        self.writer.write(b"hello")
        await self.reader.readexactly(5)
        self.relay.set_cut(True)
        self.assertEqual(await self.ended(self.reader), b"")
        reader, writer = await asyncio.open_connection("127.0.0.1", self.relay.port)
        self.assertEqual(await self.ended(reader), b"")
        writer.close()

    async def ended(self, reader):
        try:
            return await asyncio.wait_for(reader.read(1), 20)
        except ConnectionError:
            return b""


if __name__ == "__main__":
    unittest.main()
