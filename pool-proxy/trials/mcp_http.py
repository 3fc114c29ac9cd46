"""A small MCP client over streamable HTTP (2025-11-25): it shows each message with the stream it came on."""

import asyncio
import json

VERSION = "2025-11-25"


class Ended(Exception):
    """A connection that ended before its response did."""


class Response:
    def __init__(self, status, headers, reader):
        self.status, self.headers, self.reader = status, headers, reader

    async def chunks(self):
        """The body as it comes."""
        if self.headers.get("transfer-encoding") == "chunked":
            while size := int(await line(self.reader) or "0", 16):
                yield await exactly(self.reader, size)
                await line(self.reader)
            await line(self.reader)
        else:
            yield await exactly(self.reader, int(self.headers.get("content-length", 0)))

    async def messages(self):
        """The JSON-RPC messages of the body: of a stream each when it is there, else the only one."""
        if self.headers.get("content-type", "").startswith("text/event-stream"):
            buffered = b""
            async for chunk in self.chunks():
                buffered += chunk
                *events, buffered = buffered.replace(b"\r\n", b"\n").split(b"\n\n")
                for event in events:
                    data = b"\n".join(line[5:].strip() for line in event.split(b"\n") if line.startswith(b"data:"))
                    if data:
                        yield json.loads(data)
        else:
            body = b"".join([chunk async for chunk in self.chunks()])
            if body.strip() and self.headers.get("content-type", "").startswith("application/json"):
                yield json.loads(body)


async def line(reader):
    read = await reader.readline()
    if not read.endswith(b"\n"):
        raise Ended
    return read.strip().decode()


async def exactly(reader, size):
    try:
        return await reader.readexactly(size)
    except asyncio.IncompleteReadError as error:
        raise Ended from error


class Endpoint:
    """One MCP endpoint, used with one bearer token. Connections are kept and used again."""

    def __init__(self, host, port, path, token):
        self.host, self.port, self.path, self.token = host, port, path, token
        self.idle = []

    async def request(self, method, body=None, session=None):
        """Sends one request. The response is a context: its connection is kept if it was read to its end."""
        head = [f"{method} {self.path} HTTP/1.1", f"Host: {self.host}:{self.port}"]
        head += [f"Authorization: Bearer {self.token}", "Accept: application/json, text/event-stream"]
        if session:
            head += [f"Mcp-Session-Id: {session}", f"MCP-Protocol-Version: {VERSION}"]
        payload = b"" if body is None else json.dumps(body).encode()
        if body is not None:
            head += ["Content-Type: application/json"]
        head += [f"Content-Length: {len(payload)}", "", ""]
        reader, writer = self.idle.pop() if self.idle else await asyncio.open_connection(self.host, self.port)
        try:
            writer.write("\r\n".join(head).encode() + payload)
            status = int((await line(reader)).split(" ")[1])
            headers = {}
            while header := await line(reader):
                name, _, value = header.partition(":")
                headers[name.lower()] = value.strip()
        except (OSError, Ended, asyncio.CancelledError):
            writer.close()
            raise
        return Exchange(self, Response(status, headers, reader), (reader, writer))


class Exchange:
    """A response and its connection. Left early, it ends the connection: that is how clients abandon."""

    def __init__(self, endpoint, response, connection):
        self.endpoint, self.response, self.connection = endpoint, response, connection
        self.done = False

    async def __aenter__(self):
        return self

    async def __aexit__(self, *_):
        if self.done and self.response.headers.get("connection", "").lower() != "close":
            self.endpoint.idle.append(self.connection)
        else:
            self.connection[1].close()

    async def messages(self):
        async for message in self.response.messages():
            yield message
        self.done = True
