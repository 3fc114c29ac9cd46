"""The isolation storm: sessions of many principals with equal ids, tokens and subscriptions, through pool-proxy.

Children are killed and stopped at random while it lasts. Every message that a client gets is compared with what
it asked. One that belongs to somebody else is a crossing, and there must be none. That a crossing would be seen
is shown first, on a server that is declared `stateless`: there principals do meet in a child.
"""

import asyncio
import contextlib
import itertools
import os
import random
import signal
import sys
import time

from harness import options_of, running_proxy, server, token_of, tokens
from mcp_http import Ended, Endpoint
from storm_session import Busy, SessionGone, StormSession, Tally

LIMITS = """
[limits]
children_max = 1000
sessions_max = 4000
[log]
format = "off"
"""
# A stopped child is found out by the deadline of a request; so that is short here. Both together are less than the
# patience of a client, so none takes a late refusal for a hang.
DEADLINES = ('request_timeout = "5s"', 'wait_timeout = "20s"')
REPLIES_PER_DEED = 15


class Storm:
    def __init__(self, port, principals, seed, tally):
        self.port, self.principals, self.tally = port, principals, tally
        self.random = random.Random(seed)

    async def sessions(self, server, count, at_once, calls):
        """So many sessions at one server, no more than `at_once` at a time."""
        places = asyncio.Semaphore(at_once)

        async def one(number):
            async with places:
                principal = self.principals[number % len(self.principals)]
                await self.session(server, principal, f"{server}-{number}", calls)

        await asyncio.gather(*(one(number) for number in range(count)))

    async def session(self, server, principal, name, calls):
        endpoint = Endpoint("127.0.0.1", self.port, f"/servers/{server}/mcp", token_of(principal))
        session = StormSession(endpoint, principal, name, server == "session", self.tally)
        try:
            await session.open()
            self.tally.count(f"sessions at {server}")
            await session.request("resources/subscribe", {"uri": "test://same"}, 2)
            for number in range(3, 3 + calls, 2):
                # Two at a time: one can overtake the other.
                await asyncio.gather(self.step(session, number), self.step(session, number + 1))
        except Busy:
            self.tally.count("sessions refused: busy")
        except SessionGone:
            self.tally.count("sessions ended by the proxy")
        except (OSError, Ended):
            self.tally.count("connection ended")
        finally:
            if session.id:
                await session.close()

    async def step(self, session, number):
        dice = self.random.random()
        pause = self.random.choice((0, 0, 5, 20))
        if dice < 0.15:
            await session.call("touch", number, pause)
        elif dice < 0.3 and session.exclusive:
            await session.call("ask", number, pause)
        elif dice < 0.4:
            await session.call("whoami", number, 200, patience=0.02)
        else:
            await session.call("whoami", number, pause, progress=dice < 0.7)

    async def trouble(self, proxy):
        """Kills or stops a child after so many replies, however long they took. Only children of our proxy."""
        deeds = itertools.cycle((signal.SIGKILL, signal.SIGKILL, signal.SIGSTOP))
        due = REPLIES_PER_DEED
        while True:
            await asyncio.sleep(0.01)
            pids = list(self.tally.pids)
            if pids and self.tally.counts.get("replies", 0) >= due:
                pid = self.random.choice(pids)
                del self.tally.pids[pid]
                if proxy.started(pid):
                    deed = next(deeds)
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, deed)
                        self.tally.count(deed.name)
                        due += REPLIES_PER_DEED


async def show_that_crossings_are_seen(port, principals, seed):
    tally = Tally()
    await Storm(port, principals, seed, tally).sessions("stateless", 20, 20, 4)
    if not tally.crossings:
        raise SystemExit("principals that share a child were not noticed: this storm would see nothing")
    print(f"seen on a stateless server, as it should be: {tally.crossings[0]}")


async def storm(proxy, principals, options, tally):
    weather = Storm(proxy.port, principals, options.seed, tally)
    trouble = asyncio.create_task(weather.trouble(proxy))
    half = options.sessions // 2
    await asyncio.gather(
        weather.sessions("session", half, options.at_once, options.calls),
        weather.sessions("shared", options.sessions - half, half, options.calls),
    )
    trouble.cancel()


def judge(tally, options):
    """What is wrong, a sentence each."""
    wrong = list(tally.crossings[:20])
    if tally.counts.get("replies", 0) < options.sessions * options.calls / 4:
        wrong.append("not even a quarter of the calls got a reply: this storm has shown little")
    needed, bad = ("SIGKILL", "SIGSTOP", "progress", "updates", "questions"), ("hung", "stream without a reply")
    wrong += [f"no {what} at all" for what in needed if what not in tally.counts]
    wrong += [f"{tally.counts[what]} x {what}" for what in bad if what in tally.counts]
    return wrong


def main():
    options = options_of(
        __doc__,
        sessions=(1000, 80, "sessions"),
        principals=(50, 10, "principals"),
        at_once=(100, 40, "sessions with a child of their own at a time"),
        calls=(12, 12, "calls of each session"),
        seed=(1, 1, "what random choices begin with"),
    )
    principals = [f"p{number}" for number in range(options.principals)]
    servers = [server(name, "tagged_server.py", name, *DEADLINES) for name in ("session", "shared", "stateless")]
    tally = Tally()
    with running_proxy(options.proxy, LIMITS, *servers, tokens(principals)) as proxy:
        asyncio.run(show_that_crossings_are_seen(proxy.port, principals, options.seed))
        started = time.monotonic()
        asyncio.run(storm(proxy, principals, options, tally))
        seconds = time.monotonic() - started
    for what, count in sorted(tally.counts.items()):
        print(f"{count:7} {what}")
    wrong = judge(tally, options)
    for sentence in wrong:
        print(f"!! {sentence}")
    print(f"{options.sessions} sessions of {options.principals} principals in {seconds:.0f} s: ", end="")
    print(f"{len(tally.crossings)} crossings (seed {options.seed})")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
