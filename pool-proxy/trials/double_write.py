"""A server that writes and dies before it replies: the proxy repeats no write, and says that the outcome is unknown.

What the server calls read-only is repeated once, and only where the operator trusts such words.
"""

import asyncio
import json
import sys
import tempfile
from pathlib import Path

from harness import options_of, running_proxy, server
from mcp_http import Ended, Endpoint
from storm_session import StormSession, Tally

# Named after how they are shared, but for the last one, which is shared and trusted.
SERVERS = ("session", "shared", "stateless", "request", "trusting")


class Raw(StormSession):
    """A session that hands out each reply as it is."""

    async def reply(self, tool, call, dies):
        params = {"name": tool, "arguments": {"call": call, "dies": dies}}
        async with await self.endpoint.request("POST", self.message("tools/call", params, 7), self.id) as exchange:
            replies = [message async for message in exchange.messages()]
            return exchange.response.status, replies[-1] if replies else None


async def try_out(port, name, journal):
    """What is wrong with one server, a sentence each."""
    wrong = []
    session = Raw(Endpoint("127.0.0.1", port, f"/servers/{name}/mcp", "none"), "anonymous", name, False, Tally())
    await session.open()
    # The proxy knows what a tool says of itself from this list.
    await session.request("tools/list", {}, 3)

    def times(call):
        return journal.read_text().split("\n").count(call)

    status, reply = await session.reply("write", "first", True)
    if times("first") != 1:
        wrong.append(f"{name}: a write was done {times('first')} times")
    if "unknown" not in json.dumps(reply).lower() or "result" in (reply or {}):
        wrong.append(f"{name}: a write of unknown outcome was answered with {status} {reply}")
    if name == "session":
        try:
            status, reply = await session.reply("write", "second", False)
        except (OSError, Ended):
            status, reply = None, None
        if status != 404:
            wrong.append(f"{name}: a session without its child was answered with {status} {reply}")
        return wrong
    status, reply = await session.reply("write", "second", False)
    if "result" not in (reply or {}) or times("second") != 1:
        wrong.append(f"{name}: the write after that was answered with {status} {reply}")
    status, reply = await session.reply("read", "third", True)
    expected = 2 if name == "trusting" else 1
    if times("third") != expected or ("result" in (reply or {})) != (expected == 2):
        wrong.append(f"{name}: a read was done {times('third')} times, and answered with {status} {reply}")
    await session.close()
    return wrong


def main():
    options = options_of(__doc__)
    with tempfile.TemporaryDirectory() as directory:
        journals = {name: Path(directory) / name for name in SERVERS}
        servers = []
        for name, journal in journals.items():
            journal.touch()
            more = [f'env.JOURNAL = "{journal}"'] + ["trust_annotations = true"] * (name == "trusting")
            servers.append(server(name, "fragile_server.py", "shared" if name == "trusting" else name, *more))
        with running_proxy(options.proxy, *servers) as proxy:
            wrong = []
            for name, journal in journals.items():
                wrong += asyncio.run(try_out(proxy.port, name, journal))
    for sentence in wrong:
        print(f"!! {sentence}")
    print(f"{len(journals)} servers that died of a write, {len(wrong)} things wrong")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
