"""One session of the storm: what it does, and how it notices that something was not meant for it."""

import asyncio
import contextlib
import json

from mcp_http import VERSION, Ended

REQUEST_TIMEOUT_S = 60


class SessionGone(Exception):
    """The proxy knows this session no more: its child has died."""


class Busy(Exception):
    """The proxy says when to come again."""


class Tally:
    """What the whole storm has seen."""

    def __init__(self):
        self.counts = {}
        self.crossings = []
        self.pids = {}

    def count(self, what):
        self.counts[what] = self.counts.get(what, 0) + 1

    def crossing(self, sentence):
        self.crossings.append(sentence)


class StormSession:
    """All sessions use the same request ids, progress tokens and URIs, so that only the proxy tells them apart."""

    def __init__(self, endpoint, principal, name, exclusive, tally):
        self.endpoint, self.principal, self.name = endpoint, principal, name
        self.exclusive, self.tally = exclusive, tally
        self.id = None
        self.listening = None

    async def open(self):
        params = {"protocolVersion": VERSION, "clientInfo": {"name": "storm", "version": "1"}}
        params["capabilities"] = {"sampling": {}} if self.exclusive else {}
        async with await self.endpoint.request("POST", self.message("initialize", params, 1)) as exchange:
            replies = [message async for message in exchange.messages()]
            if exchange.response.status == 503 and exchange.response.headers.get("retry-after"):
                raise Busy(replies)
            if exchange.response.status != 200 or "result" not in replies[-1]:
                raise SessionGone(f"initialize: {exchange.response.status} {replies}")
            self.id = exchange.response.headers["mcp-session-id"]
        await self.post({"jsonrpc": "2.0", "method": "notifications/initialized"})
        self.listening = asyncio.create_task(self.listen())

    async def close(self):
        if self.listening:
            self.listening.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self.listening
        with contextlib.suppress(OSError, Ended):
            async with await self.endpoint.request("DELETE", session=self.id) as exchange:
                [_ async for _ in exchange.messages()]

    async def listen(self):
        """The GET stream: what names no request comes here."""
        with contextlib.suppress(OSError, Ended):
            async with await self.endpoint.request("GET", session=self.id) as exchange:
                async for message in exchange.messages():
                    await self.take(message, None, "GET")

    def message(self, method, params, number):
        return {"jsonrpc": "2.0", "id": number, "method": method, "params": params}

    async def post(self, message):
        """Sends what has no reply: a notification, or an answer to a question."""
        async with await self.endpoint.request("POST", message, self.id) as exchange:
            [_ async for _ in exchange.messages()]
            return exchange.response.status

    async def call(self, tool, number, milliseconds=0, progress=False, patience=REQUEST_TIMEOUT_S):
        """One tool call. With less patience than the call takes, it is abandoned."""
        tag = {"principal": self.principal, "session": self.name, "call": f"{tool}-{number}-{milliseconds}"}
        given = {"tag": tag, "principal": self.principal, "session": self.name, "milliseconds": milliseconds}
        params = {"name": tool, "arguments": given}
        if progress:
            params["_meta"] = {"progressToken": f"token-{number}"}
        try:
            async with asyncio.timeout(patience):
                await self.exchange(self.message("tools/call", params, number), tag)
        except TimeoutError:
            self.tally.count("abandoned" if patience < REQUEST_TIMEOUT_S else "hung")
        except (OSError, Ended):
            self.tally.count("connection ended")

    async def request(self, method, params, number):
        await self.exchange(self.message(method, params, number), None)

    async def exchange(self, message, tag):
        async with await self.endpoint.request("POST", message, self.id) as exchange:
            status = exchange.response.status
            if status == 404:
                raise SessionGone("404")
            if status != 200:
                replies = [reply async for reply in exchange.messages()]
                self.tally.count(f"status {status}: {replies[-1]['error']['message'] if replies else ''}")
                return
            replied = False
            async for received in exchange.messages():
                replied |= await self.take(received, message["id"], "POST", tag)
            if not replied:
                self.tally.count("stream without a reply")

    async def take(self, received, number, stream, tag=None):
        """Judges one message. True for the reply to the request whose stream this is."""
        method = received.get("method")
        if method == "sampling/createMessage":
            await self.take_question(received)
        elif method == "notifications/progress":
            self.check_tag(json.loads(received["params"]["message"]), tag, f"progress on a {stream} stream")
            self.expect(received["params"]["progressToken"] == f"token-{number}", f"a progress token {received}")
            self.tally.count("progress")
        elif method == "notifications/resources/updated":
            self.check_update(received["params"]["uri"], stream)
        elif method is not None:
            self.tally.count(f"other {method}")
        elif "error" in received:
            self.expect(received["id"] == number, f"an error for {received['id']} instead of {number}")
            self.tally.count(f"error {received['error']['code']}")
            return True
        else:
            self.expect(received["id"] == number, f"a reply for {received['id']} instead of {number}")
            if tag is not None:
                self.check_reply(json.loads(received["result"]["content"][0]["text"]), tag)
            self.tally.count("replies")
            return True
        return False

    async def take_question(self, question):
        asked = json.loads(question["params"]["messages"][0]["content"]["text"])
        self.expect(asked["session"] == self.name, f"a question of {asked}")
        self.tally.count("questions")
        content = {"type": "text", "text": f"{self.name} says so"}
        result = {"role": "assistant", "content": content, "model": "none"}
        await self.post({"jsonrpc": "2.0", "id": question["id"], "result": result})

    def check_reply(self, told, tag):
        self.check_tag(told["tag"], tag, "a reply")
        self.expect(told["principals"] == [self.principal], f"a child that served {told['principals']}")
        if self.exclusive:
            self.expect(told["sessions"] == [self.name], f"a child that served the sessions {told['sessions']}")
        if told["said"] not in (None, "refused"):
            self.expect(told["said"] == f"{self.name} says so", f"an answer that {told['said']}")
        self.tally.pids[told["pid"]] = self.principal

    def check_tag(self, received, sent, what):
        self.expect(received == sent, f"{what} for {received} instead of {sent}")

    def check_update(self, uri, stream):
        """An update may come from another session of the same principal only where they share the child."""
        principal, session = uri.removeprefix("test://same/").split("/")
        self.expect(principal == self.principal, f"an update on {stream} of {uri}")
        if self.exclusive:
            self.expect(session == self.name, f"an update on {stream} of {uri}")
        self.tally.count("updates")

    def expect(self, fact, otherwise):
        if not fact:
            self.tally.crossing(f"{self.name} got {otherwise}")
