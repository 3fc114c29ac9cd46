"""Hostile clients: each gets a clear status or no connection, the proxy's memory stays flat, and others are served."""

import asyncio
import json
import random
import sys
import time

from harness import options_of, running_proxy, server
from mcp_http import VERSION, Ended, Endpoint
from storm_session import StormSession, Tally

SETTINGS = """
[http]
head_timeout = "3s"
body_timeout = "3s"
write_timeout = "3s"
connections_max = 12000
[log]
format = "off"
"""
PATH = "/servers/shared/mcp"
INITIALIZE = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {"protocolVersion": VERSION, "capabilities": {}, "clientInfo": {"name": "h", "version": "1"}},
}
PING = b'{"jsonrpc":"2.0","id":1,"method":"ping"}'
GROWTH_KIB_MAX = 64 * 1024
# What a connection may cost: the buffers of HTTP.
CONNECTION_KIB_MAX = 16
# Ten times what is set.
ENDED_WITHIN_S = 30
DEAF_MAX_S = 60
ANSWER_TIMEOUT_S = 30


def http(method="POST", path=PATH, body=b"", **headers):
    """A whole request. A header that is given as `None` is left out; `_` in names stands for `-`."""
    fields = {
        "Host": "127.0.0.1",
        "Content-Type": "application/json",
        "Accept": "application/json, text/event-stream",
        "Content-Length": str(len(body)),
        "Connection": "close",
    }
    fields |= {name.replace("_", "-"): value for name, value in headers.items()}
    lines = [f"{method} {path} HTTP/1.1"] + [f"{name}: {value}" for name, value in fields.items() if value is not None]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def cases():
    """Name, bytes, and the statuses that are clear answers. `None` stands for a closed connection."""
    initialize = json.dumps(INITIALIZE).encode()
    chunks = b"".join(b"10000\r\n" + b" " * 0x10000 + b"\r\n" for _ in range(200))
    yield "another host", http(body=initialize, Host="evil.example"), {403}
    yield "no host", http(body=initialize, Host=None), {400, 403}
    yield "another origin", http(body=initialize, Origin="http://evil.example"), {403}
    yield "a null origin", http(body=initialize, Origin="null"), {403}
    for host in ("evil.example:80", "localhost.evil.example", "127.0.0.1.evil.example", "localhost@evil.example", "a b"):
        yield f"the host {host}", http(body=initialize, Host=host), {400, 403}
    for origin in ("http://localhost.evil.example", "http://127.0.0.1@evil.example", "http://localhost:80@evil.example",
                   "file://localhost", "http://[::1]evil.example", "HTTP://EVIL.EXAMPLE"):
        yield f"the origin {origin}", http(body=initialize, Origin=origin), {403}
    yield "two hosts", http(body=initialize, Host="127.0.0.1\r\nHost: evil.example"), {400, 403}
    yield "another host's address", http(path="http://evil.example/mcp", body=initialize), {400, 403}
    yield "a tunnel", http("CONNECT", "evil.example:80"), {400, 403}
    for name in ("Mcp-Session-Id", "MCP-Protocol-Version", "Mcp-Name", "Mcp-Method"):
        yield f"two of {name}", http(body=initialize, **{name: f"1\r\n{name}: 2"}), {400}
    json_twice = "application/json\r\nContent-Type: application/json"
    yield "two content types", http(body=initialize, Content_Type=json_twice), {400}
    yield "a text", http(body=initialize, Content_Type="text/plain"), {400, 415}
    yield "no content type", http(body=initialize, Content_Type=None), {400, 415}
    yield "a picture wanted", http(body=initialize, Accept="image/png"), {400, 406}
    yield "no JSON", http(body=b"{"), {400}
    yield "no UTF-8", http(body=b'{"jsonrpc":"2.0","id":1,"method":"\xff"}'), {400}
    yield "an empty body", http(), {400}
    yield "a number", http(body=b"7"), {400}
    yield "a batch", http(body=b"[" + initialize + b"]"), {400}
    yield "deep brackets", http(body=b"[" * 200_000), {400}
    yield "deep objects", http(body=b'{"a":' * 100_000), {400}
    yield "an id that is an object", http(body=b'{"jsonrpc":"2.0","id":{},"method":"ping"}'), {400}
    yield "no session", http(path="/servers/session/mcp", body=PING), {400, 404}
    yield "a guessed session", http(body=PING, Mcp_Session_Id="1"), {404}
    yield "a strange session", http(body=PING, Mcp_Session_Id="../../etc/passwd"), {400, 404}
    yield "an end of a guessed session", http("DELETE", Mcp_Session_Id="1"), {404}
    yield "a stream of a guessed session", http("GET", Mcp_Session_Id="1"), {404}
    yield "an unknown method", http("PUT", body=initialize), {405}
    yield "a body of 8 MiB", http(body=b" " * (8 << 20)), {413}
    yield "a promise of 1 TiB", http(Content_Length=str(1 << 40)), {413}
    chunked = http(Content_Length=None, Transfer_Encoding="chunked")
    yield "a flood of chunks", chunked + chunks, {413}
    yield "a chunk of no size", chunked + b"zz\r\n", {400, None}
    yield "a long name of a chunk", chunked + b"1;" + b"x" * (1 << 20) + b"\r\n", {400, None}
    yield "a flood of trailers", chunked + b"0\r\n" + b"X: y\r\n" * 100_000, {400, None}
    yield "a header of 1 MiB", http(X="a" * (1 << 20)), {400, 431}
    yield "ten thousand headers", http(**{f"X{number}": "" for number in range(10_000)}), {400, 431}
    yield "two lengths", http(Content_Length="5\r\nContent-Length: 6"), {400}
    yield "a length and chunks", http(body=initialize, Transfer_Encoding="chunked"), {400, None}
    yield "a negative length", http(Content_Length="-1"), {400}
    yield "no HTTP", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" * 9 + b"\r\n\r\n", {400, None}
    for path in ("/", "/mcp/../mcp", "/servers/../servers/shared/mcp", "/servers/%2e%2e/mcp", "//servers/shared/mcp",
                 "/servers/shared%2fmcp", "/servers/shared/mcp/", "/servers//mcp", "/servers/none/mcp", "/%00"):
        yield f"the path {path}", http(path=path, body=initialize), {400, 404}


async def answer(port, request):
    """The status of the answer, or `None` if the connection ends without one."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        async with asyncio.timeout(ANSWER_TIMEOUT_S):
            writer.write(request)
            sending = asyncio.create_task(writer.drain())
            head = await reader.readline()
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)
        return int(head.split()[1]) if head else None
    except (ConnectionError, asyncio.IncompleteReadError):
        return None
    finally:
        writer.close()


async def ask_all(port):
    wrong = []
    for name, request, clear in cases():
        try:
            status = await answer(port, request)
        except TimeoutError:
            status = "no answer"
        if status not in clear:
            wrong.append(f"{name}: {status} instead of {sorted(map(str, clear))}")
    return wrong


async def fuzz(port, seed, count):
    """Valid requests with a few bytes changed. None may be answered with 500."""
    chance = random.Random(seed)
    valid = http(body=json.dumps(INITIALIZE).encode())
    wrong = []

    async def one(number):
        request = bytearray(valid)
        for _ in range(chance.randint(1, 8)):
            request[chance.randrange(len(request))] = chance.randrange(256)
        try:
            status = await answer(port, bytes(request))
        except TimeoutError:
            # A longer body was promised: it ends by the proxy's own timeout.
            status = 408
        if status is not None and not 200 <= status < 500 and status != 503:
            wrong.append(f"fuzz {number} (seed {seed}): {status} for {bytes(request)}")

    for start in range(0, count, 50):
        await asyncio.gather(*(one(start + number) for number in range(50)))
    return wrong


async def served(port):
    """How long a client in good standing waits for one call."""
    started = time.monotonic()
    tally = Tally()
    session = StormSession(Endpoint("127.0.0.1", port, PATH, "none"), "anonymous", "good", False, tally)
    await session.open()
    await session.call("whoami", 3)
    await session.close()
    if tally.counts.get("replies") != 1:
        raise SystemExit(f"a client in good standing got {tally.counts}")
    return time.monotonic() - started


async def guess(port, seed, count):
    """Ids of sessions that nobody was given, of the right form."""
    chance, wrong = random.Random(seed), set()
    for _ in range(count // 50):
        ids = [f"{chance.getrandbits(128):032x}" for _ in range(50)]
        answers = await asyncio.gather(*(answer(port, http(body=PING, Mcp_Session_Id=one)) for one in ids))
        wrong |= {f"a guessed session: {status} instead of 404" for status in answers if status != 404}
    return sorted(wrong)


async def metric(port, name):
    """A number that the proxy counts; 0 if it has not begun."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(http("GET", "/metrics"))
    text = (await reader.read()).decode()
    writer.close()
    lines = (line.split() for line in text.splitlines())
    return next((float(line[-1]) for line in lines if line and line[0] == name), 0.0)


async def hold(port, count, first_bytes):
    """Connections that say a part of a request, or nothing."""
    held = []
    for _ in range(count):
        connection = await asyncio.open_connection("127.0.0.1", port)
        connection[1].write(first_bytes)
        held.append(connection)
    return held


async def all_end(held, within_s):
    """How many of the connections the proxy has not ended in time."""

    async def one(reader):
        while await reader.read(4096):
            pass

    reads = [asyncio.create_task(one(reader)) for reader, _ in held]
    _, pending = await asyncio.wait(reads, timeout=within_s)
    for task in pending:
        task.cancel()
    await asyncio.gather(*reads, return_exceptions=True)
    for _, writer in held:
        writer.close()
    return len(pending)


async def deaf_call(port):
    """A client that reads the head of its stream and no more, while its server sends 60 MB of updates."""
    endpoint = Endpoint("127.0.0.1", port, "/servers/session/mcp", "none")
    session = StormSession(endpoint, "anonymous", "deaf", True, Tally())
    await session.open()
    await session.request("resources/subscribe", {"uri": "test://same"}, 2)
    tag = {"principal": "anonymous", "session": "deaf", "padding": "x" * 1000}
    given = {"tag": tag, "principal": "anonymous", "session": "deaf", "flood": 60_000}
    message = session.message("tools/call", {"name": "whoami", "arguments": given}, 3)
    exchange = await endpoint.request("POST", message, session.id)
    exchange.connection[1].transport.pause_reading()
    return session, exchange


async def trial(proxy, options):
    await served(proxy.port)
    wrong = await ask_all(proxy.port)
    print(f"{len(list(cases()))} malformed requests", flush=True)
    wrong += await fuzz(proxy.port, options.seed, options.fuzz)
    print(f"{options.fuzz} fuzzed requests", flush=True)
    before = proxy.memory_kib()

    async def check(what, connections=0):
        seconds, growth = await served(proxy.port), proxy.memory_kib() - before
        print(f"{what}: a client is served within {seconds * 1000:.0f} ms, memory grew by {growth} KiB", flush=True)
        if seconds > options.served_within:
            wrong.append(f"{what}: others wait for {seconds:.1f} s")
        if growth > GROWTH_KIB_MAX + connections * CONNECTION_KIB_MAX:
            wrong.append(f"{what}: memory grew by {growth} KiB")

    slow = await hold(proxy.port, options.unfinished, b"POST /mcp HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Slow: ")
    await check(f"{options.unfinished} unfinished heads", options.unfinished)
    left = await all_end(slow, ENDED_WITHIN_S)
    half = http(Content_Length="1000") + b"{"
    slow_bodies = await hold(proxy.port, options.unfinished, half)
    await check(f"{options.unfinished} unfinished bodies", options.unfinished)
    left += await all_end(slow_bodies, ENDED_WITHIN_S)
    wrong += await guess(proxy.port, options.seed, options.guesses)
    await check(f"{options.guesses} guessed sessions")
    idle = await hold(proxy.port, options.idle, b"")
    await check(f"{options.idle} idle connections", options.idle)
    left += await all_end(idle, ENDED_WITHIN_S)
    if left:
        wrong.append(f"{left} connections without a whole request were not ended")
    # The allocator keeps what ten thousand connections have needed.
    before = proxy.memory_kib()
    session, exchange = await deaf_call(proxy.port)
    seconds, dropped = 0, 0
    while seconds < options.deaf or not dropped and seconds < DEAF_MAX_S:
        await asyncio.sleep(1)
        seconds += 1
        await check(f"a client that has not read for {seconds} s")
        dropped = await metric(proxy.port, "proxy_connections_unread_total")
    if not dropped:
        wrong.append("a client that does not read was not dropped")
    exchange.connection[1].close()
    await session.close()
    return wrong


def main():
    options = options_of(
        __doc__,
        seed=(1, 1, "what random choices begin with"),
        fuzz=(2000, 200, "fuzzed requests"),
        guesses=(2000, 200, "guessed ids of sessions"),
        unfinished=(500, 200, "connections at a time that send a part of a request"),
        idle=(10_000, 500, "idle connections at a time"),
        deaf=(8, 3, "seconds that a client does not read, at least"),
        served_within=(2.0, 20.0, "seconds that one call of a client in good standing may take beside all this"),
    )
    servers = [server(name, "tagged_server.py", name) for name in ("session", "shared")]
    with running_proxy(options.proxy, SETTINGS, *servers) as proxy:
        wrong = asyncio.run(trial(proxy, options))
    for sentence in wrong:
        print(f"!! {sentence}")
    print(f"{len(wrong)} things wrong")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
