"""A stdio MCP server (2025-11-25) that writes down each call, and dies of some before it replies."""

import json
import os
import sys

TOOLS = [
    {"name": "write", "inputSchema": {"type": "object"}},
    {"name": "read", "inputSchema": {"type": "object"}, "annotations": {"readOnlyHint": True}},
]


def died_before(call):
    """Whether a process already died of this call; each call has a name."""
    with open(os.environ["JOURNAL"]) as journal:
        return journal.read().count(call + "\n") > 1


def answer(request):
    method, params = request["method"], request.get("params") or {}
    if method == "initialize":
        info = {"name": "fragile", "version": "1.0.0"}
        return {"protocolVersion": params["protocolVersion"], "capabilities": {"tools": {}}, "serverInfo": info}
    if method == "tools/list":
        return {"tools": TOOLS}
    if method == "tools/call":
        call = params["arguments"]["call"]
        with open(os.environ["JOURNAL"], "a") as journal:
            journal.write(call + "\n")
        if params["arguments"].get("dies") and not died_before(call):
            os._exit(1)
        return {"content": [{"type": "text", "text": call}]}
    return {}


if __name__ == "__main__":
    for line in sys.stdin:
        message = json.loads(line)
        if "method" in message and "id" in message:
            reply = {"jsonrpc": "2.0", "id": message["id"], "result": answer(message)}
            sys.stdout.write(json.dumps(reply) + "\n")
            sys.stdout.flush()
