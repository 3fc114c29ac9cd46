"""Sessions whose clients go away without a word: after the idle time no child of theirs lives."""

import asyncio
import sys
import time

from harness import options_of, running_proxy, server
from mcp_http import Endpoint
from storm_session import StormSession, Tally

LIMITS = """
[limits]
children_max = 150
sessions_max = 4000
sessions_per_principal_max = 4000
[log]
format = "off"
"""
IDLE = ('session_idle_timeout = "5s"', 'idle_timeout = "1s"', 'wait_timeout = "60s"')
AT_ONCE = 50
# After the last call: the idle time, and time for a hundred and fifty terminations on a busy machine.
GONE_WITHIN_S = 60


async def abandon(port, count, tally):
    """Each session makes a call, so that it has a child, and is not heard of again."""
    places = asyncio.Semaphore(AT_ONCE)

    async def one(number):
        async with places:
            endpoint = Endpoint("127.0.0.1", port, "/servers/left/mcp", "none")
            session = StormSession(endpoint, "anonymous", f"left-{number}", True, tally)
            await session.open()
            await session.call("whoami", 2)
            session.listening.cancel()
            await asyncio.gather(session.listening, return_exceptions=True)
            for _, writer in endpoint.idle:
                writer.close()

    await asyncio.gather(*(one(number) for number in range(count)))


def main():
    options = options_of(__doc__, sessions=(1000, 60, "sessions"))
    tally = Tally()
    with running_proxy(options.proxy, LIMITS, server("left", "tagged_server.py", "session", *IDLE)) as proxy:
        asyncio.run(abandon(proxy.port, options.sessions, tally))
        at_the_end, started = len(proxy.children()), time.monotonic()
        left = proxy.children_after(GONE_WITHIN_S)
        seconds = time.monotonic() - started
        memory = proxy.memory_kib()
    replies = tally.counts.get("replies", 0)
    print(f"{options.sessions} abandoned sessions, {replies} replies, {tally.counts}")
    print(f"{at_the_end} children at the end of the last call, {left} after {seconds:.1f} s; proxy: {memory} KiB")
    return 0 if replies == options.sessions and left == 0 and at_the_end > 0 and not tally.crossings else 1


if __name__ == "__main__":
    sys.exit(main())
