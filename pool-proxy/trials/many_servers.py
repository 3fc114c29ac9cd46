"""Many servers that are all called at once, as after a restart: none may fail.

A client that is told that the server is starting comes again, as it is told to. How often that was is printed.
"""

import asyncio
import sys
import time

from harness import options_of, running_proxy, server
from mcp_http import Endpoint
from storm_session import Busy, StormSession, Tally

LIMITS = """
[limits]
children_max = 200
[log]
format = "off"
"""


async def opened(session, tally):
    try:
        await session.open()
    except Busy:
        tally.count("told to come again")
        return False
    return True


async def call_all(port, sharing, servers, tally):
    async def one(number):
        name = f"{sharing}-{number}"
        endpoint = Endpoint("127.0.0.1", port, f"/servers/{name}/mcp", "none")
        session = StormSession(endpoint, "anonymous", name, sharing == "session", tally)
        while not await opened(session, tally):
            await asyncio.sleep(1)
        await session.call("whoami", 2)
        await session.close()

    await asyncio.gather(*(one(number) for number in range(servers)))


def main():
    options = options_of(__doc__, servers=(99, 25, "servers"))
    wrong = 0
    for sharing in ("session", "shared"):
        tally = Tally()
        servers = [server(f"{sharing}-{number}", "tagged_server.py", sharing) for number in range(options.servers)]
        with running_proxy(options.proxy, LIMITS, *servers) as proxy:
            started = time.monotonic()
            asyncio.run(call_all(proxy.port, sharing, options.servers, tally))
            seconds = time.monotonic() - started
        replies = tally.counts.get("replies", 0)
        print(f"{sharing}: {replies} of {options.servers} servers replied within {seconds:.1f} s: {tally.counts}")
        wrong += options.servers - replies + len(tally.crossings)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
