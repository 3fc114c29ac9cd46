"""What callers notice when a shared child dies or is stopped, and what is left when the proxy itself is killed.

* Once a child is dead, no new call fails, and the next one takes little longer than a first call.
* A stopped child costs the calls that it has one deadline. All calls after that are served by another child.
* A killed proxy leaves no child.
"""

import asyncio
import os
import signal
import statistics
import sys
import time
from pathlib import Path

from harness import options_of, running_proxy, server, token_of, tokens
from mcp_http import Endpoint
from storm_session import StormSession, Tally

GONE_WITHIN_S = 30


class Caller:
    def __init__(self, port, principal):
        self.tally = Tally()
        endpoint = Endpoint("127.0.0.1", port, "/servers/shared/mcp", token_of(principal))
        self.session = StormSession(endpoint, principal, "caller", False, self.tally)

    async def call(self, milliseconds=0):
        """Seconds that a call took, and whether it was answered."""
        before, started = self.tally.counts.get("replies", 0), time.monotonic()
        await self.session.call("whoami", 3, milliseconds)
        return time.monotonic() - started, self.tally.counts.get("replies", 0) > before

    def pid(self):
        return next(iter(self.tally.pids))

    def forget(self):
        self.tally.pids.clear()


def is_dead(pid):
    """Whether the process has ended. Its first thread can be dead while another one, which has yet to die, keeps its pipes."""
    try:
        is_zombie = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
        return is_zombie and len(os.listdir(f"/proc/{pid}/task")) == 1
    except OSError:
        return True


async def deaths(port, principals):
    """Cold starts, the calls after deaths, and how many of these failed."""
    cold, after, failed = [], [], 0
    for principal in principals:
        caller = Caller(port, principal)
        started = time.monotonic()
        await caller.session.open()
        await caller.call()
        cold.append(time.monotonic() - started)
        os.kill(caller.pid(), signal.SIGKILL)
        while not is_dead(caller.pid()):
            await asyncio.sleep(0)
        seconds, answered = await caller.call()
        after.append(seconds)
        failed += not answered
        await caller.session.close()
    return cold, after, failed


async def stop(port, principal, options):
    """What is wrong with how a stopped child is dealt with, a sentence each."""
    wrong = []
    caller = Caller(port, principal)
    await caller.session.open()
    await caller.call()
    os.kill(caller.pid(), signal.SIGSTOP)
    stopped = time.monotonic()
    victims = await asyncio.gather(*(caller.call() for _ in range(4)))
    longest = max(seconds for seconds, _ in victims)
    if longest > options.deadline + options.slack:
        wrong.append(f"a call to a stopped child took {longest:.1f} s, with a deadline of {options.deadline} s")
    calls = []
    while time.monotonic() - stopped < 2 * options.deadline or len(calls) < 10:
        calls.append(await caller.call())
    failed = sum(not answered for _, answered in calls)
    print(f"stopped: 4 calls within {longest:.2f} s, {failed} of {len(calls)} failed after that")
    if failed:
        wrong.append(f"{failed} calls failed after the stopped child had cost others their deadline")
    await caller.session.close()
    return wrong


def killed(proxy, principals):
    """What is wrong after the proxy was killed with children that have work."""

    async def leave_work():
        for principal in principals:
            caller = Caller(proxy.port, principal)
            await caller.session.open()
            await caller.session.call("whoami", 3, 60_000, patience=0.1)
            caller.session.listening.cancel()

    asyncio.run(leave_work())
    had = len(proxy.children())
    os.kill(proxy.pid, signal.SIGKILL)
    died = time.monotonic()
    left = proxy.children_after(GONE_WITHIN_S)
    print(f"killed: {had} children before, {left} left {time.monotonic() - died:.2f} s later")
    return [f"{left} of {had} children are left by a killed proxy"] if left or not had else []


def main():
    options = options_of(
        __doc__,
        principals=(20, 5, "principals, of which each has a child that is killed"),
        deadline=(2, 10, "seconds until a request to a stopped child is given up"),
        slack=(1, 8, "seconds that such a request may take beside this"),
        recovery=(50, 5000, "milliseconds that the call after a death may take longer than a first one"),
    )
    principals = [f"p{number}" for number in range(options.principals)]
    shared = server("shared", "tagged_server.py", "shared", f'request_timeout = "{options.deadline}s"')
    with running_proxy(options.proxy, shared, tokens(principals)) as proxy:
        cold, after, failed = asyncio.run(deaths(proxy.port, principals))
        wrong = asyncio.run(stop(proxy.port, principals[0], options))
    first, next_one = (statistics.median(seconds) * 1000 for seconds in (cold, after))
    print(f"dead: {failed} of {len(after)} new calls failed; {next_one:.0f} ms, a cold start takes {first:.0f} ms")
    if failed:
        wrong.append(f"{failed} new calls failed after a death")
    if next_one > first + options.recovery:
        wrong.append(f"the call after a death takes {next_one - first:.0f} ms longer than a cold start")
    with running_proxy(options.proxy, shared, tokens(principals), exit_expected=-signal.SIGKILL) as proxy:
        wrong += killed(proxy, principals[:5])
    for sentence in wrong:
        print(f"!! {sentence}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
