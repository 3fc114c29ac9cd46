"""One stdio MCP server's end of the wire: a JSON-RPC message per line, requests served concurrently.

A server gives `serve` two functions: one for requests, one for notifications. Tool calls run in threads of
their own, so a slow call holds up no other. All other requests are answered in the order of their arrival.
"""

import json
import sys
import threading


class RpcError(Exception):
    """Ends a request with a JSON-RPC error."""

    def __init__(self, code, message, data=None):
        super().__init__(message)
        self.body = {"code": code, "message": message}
        if data is not None:
            self.body["data"] = data


class Call:
    """One request of the client. After a cancel nothing more is sent for it."""

    def __init__(self, wire, message):
        self.wire = wire
        self.id = message["id"]
        self.method = message["method"]
        self.params = message.get("params") or {}
        self.meta = self.params.get("_meta") or {}
        self.cancelled = threading.Event()

    def notify(self, method, params):
        if not self.cancelled.is_set():
            self.wire.notify(method, params)

    def progress(self, done, total):
        token = self.meta.get("progressToken")
        if token is not None:
            self.notify("notifications/progress", {"progressToken": token, "progress": done, "total": total})

    def pause(self, seconds):
        """Works for a while, or until the client cancels."""
        self.cancelled.wait(seconds)

    def answer(self, **body):
        if not self.cancelled.is_set():
            self.wire.send({"jsonrpc": "2.0", "id": self.id, **body})


class Wire:
    """Standard input and output as JSON-RPC."""

    def __init__(self):
        self._writing = threading.Lock()
        self._state = threading.Lock()
        self._calls = {}
        self._questions = {}
        self._asked = 0

    def send(self, message):
        line = json.dumps(message, separators=(",", ":")) + "\n"
        with self._writing:
            sys.stdout.buffer.write(line.encode())
            sys.stdout.buffer.flush()

    def notify(self, method, params=None):
        message = {"jsonrpc": "2.0", "method": method}
        if params is not None:
            message["params"] = params
        self.send(message)

    def ask(self, call, method, params):
        """Asks the client a question and waits for the reply. Only a legacy server may."""
        arrived = threading.Event()
        with self._state:
            self._asked += 1
            question = f"question-{self._asked}"
            self._questions[question] = [arrived, None]
        self.send({"jsonrpc": "2.0", "id": question, "method": method, "params": params})
        while not arrived.wait(0.05):
            if call.cancelled.is_set():
                raise RpcError(-32603, "cancelled while the client was asked")
        with self._state:
            reply = self._questions.pop(question)[1]
        if "error" in reply:
            raise RpcError(-32603, f"{method} failed: {reply['error'].get('message')}")
        return reply["result"]

    def serve(self, on_request, on_notification):
        """Reads until the end of standard input."""
        for line in sys.stdin.buffer:
            if line.strip():
                self._take(json.loads(line), on_request, on_notification)

    def _take(self, message, on_request, on_notification):
        if "method" not in message:
            self._take_reply(message)
        elif "id" in message:
            self._take_request(Call(self, message), on_request)
        elif message["method"] == "notifications/cancelled":
            self._cancel(message.get("params", {}).get("requestId"))
        else:
            on_notification(message)

    def _take_reply(self, message):
        with self._state:
            question = self._questions.get(message.get("id"))
            if question:
                question[1] = message
                question[0].set()

    def _take_request(self, call, on_request):
        with self._state:
            self._calls[json.dumps(call.id)] = call
        if call.method == "tools/call":
            threading.Thread(target=self._run, args=(call, on_request), daemon=True).start()
        else:
            self._run(call, on_request)

    def _run(self, call, on_request):
        keep = False
        try:
            result = on_request(call)
            keep = result is None
            if not keep:
                call.answer(result=result)
        except RpcError as error:
            call.answer(error=error.body)
        finally:
            # A request that was answered with nothing stays open until it is cancelled: a subscription.
            if not keep:
                with self._state:
                    self._calls.pop(json.dumps(call.id), None)

    def _cancel(self, request_id):
        with self._state:
            call = self._calls.pop(json.dumps(request_id), None)
        if call:
            call.cancelled.set()
