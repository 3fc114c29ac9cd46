"""An MCP server of the eras with sessions, whose tools do what a test needs. It needs no packages.

If BEACON names a socket, it connects to it and says its process id: the end of that connection is its own.
"""
import json
import os
import signal
import socket
import sys
import threading
import time

if "BEACON" in os.environ:
    beacon = socket.socket(socket.AF_UNIX)
    beacon.connect(os.environ["BEACON"])
    beacon.sendall(b"%d\n" % os.getpid())

CAPABILITIES = {"tools": {"listChanged": True}, "logging": {}, "resources": {"subscribe": True}}
if os.path.exists(os.environ.get("GROWN", "")):
    CAPABILITIES["prompts"] = {}
held = []
leaked = []
calls = 0
lists = 0
told = 0
client = None
TOOLS = [
    {"name": "echo", "inputSchema": {"type": "object"}},
    {"name": "region", "inputSchema": {
        "type": "object", "properties": {"region": {"type": "string", "x-mcp-header": "Region"}}}},
    {"name": "wait", "inputSchema": {"type": "object"}, "annotations": {"readOnlyHint": True}},
]


def say(message):
    sys.stdout.write(json.dumps({"jsonrpc": "2.0", **message}) + "\n")
    sys.stdout.flush()


def write_for_ever(block):
    while True:
        sys.stdout.buffer.write(block)


def text(value):
    return {"content": [{"type": "text", "text": str(value)}]}


def call(request, params):
    global calls
    calls += 1
    name, arguments = params["name"], params.get("arguments", {})
    if name == "echo":
        return text(arguments["text"])
    if name == "pid":
        return text(os.getpid())
    if name == "region":
        return text(arguments["region"])
    if name == "lists":
        return text(lists)
    if name == "calls":
        return text(calls)
    if name == "told":
        return text(told)
    if name == "client":
        return text(json.dumps(client))
    if name == "params":
        return text(json.dumps(params))
    if name == "environment":
        return text(json.dumps(dict(os.environ)))
    if name == "progress":
        token = params["_meta"]["progressToken"]
        say({"method": "notifications/progress", "params": {"progressToken": token, "progress": 1}})
        return text("done")
    if name == "begin":
        # It never ends.
        token = params["_meta"]["progressToken"]
        say({"method": "notifications/progress", "params": {"progressToken": token, "progress": 1}})
        return None
    if name == "detach":
        # A process that leaves the process group, and connects to the beacon as a child does.
        if os.fork() == 0:
            os.setsid()
            apart = socket.socket(socket.AF_UNIX)
            apart.connect(os.environ["BEACON"])
            apart.sendall(b"%d\n" % os.getpid())
            beacon.close()
            for number in range(3):
                os.close(number)
            while True:
                signal.pause()
        return text("detached")
    if name == "log":
        say({"method": "notifications/message", "params": {"level": "info", "data": "said"}})
        return text("logged")
    if name == "change":
        say({"method": "notifications/tools/list_changed"})
        return text("changed")
    if name == "burst":
        # Of one kind once, then of another more often than anybody keeps.
        line = '{"jsonrpc":"2.0","method":"notifications/%s/list_changed"}\n'
        sys.stdout.write(line % "tools" + line % "prompts" * 1000)
        sys.stdout.flush()
        return text("changed")
    if name == "update":
        say({"method": "notifications/resources/updated", "params": {"uri": arguments["uri"]}})
        return text("updated")
    if name == "mark":
        beacon.sendall(b"mark\n")
        return text("marked")
    if name == "work":
        # One call at a time, whoever else waits.
        time.sleep(arguments["seconds"])
        return text(os.getpid())
    if name == "fill":
        return text("x" * arguments["bytes"])
    if name == "leak":
        leaked.append(b"x" * arguments["bytes"])
        return None if arguments.get("silent") else text("leaked")
    if name == "flood":
        # Until it is killed.
        line = b'{"jsonrpc":"2.0","method":"notifications/message","params":{"data":"%s"}}\n'
        block = line % (b"x" * arguments["bytes"]) * 100
        sys.stdout.buffer.write(block)
        sys.stdout.buffer.flush()
        threading.Thread(target=write_for_ever, args=[block], daemon=True).start()
        return None if arguments.get("silent") else text("flooding")
    if name == "ask":
        say({"id": "question", "method": "sampling/createMessage", "params": {}})
        held.append(request)
        return None
    if name == "close_output":
        os.close(1)
        signal.pause()
    if name == "wait":
        # For a word of the test.
        beacon.sendall(b"waiting\n")
        return text(beacon.recv(100).decode())
    if name == "hold":
        held.append(request)
        return None
    if name == "exit":
        os._exit(3)
    return {"isError": True, **text("no such tool")}


def answer(message):
    global lists, told, client
    method, request = message.get("method"), message.get("id")
    if method is None:
        # The answer to a question ends the call that asked.
        say({"id": held.pop(), "result": text(json.dumps(message.get("result", message.get("error"))))})
    elif request is None:
        if method == "notifications/cancelled" and "BEACON" in os.environ:
            beacon.sendall(b"cancelled\n")
        if method == "notifications/initialized":
            told += 1
            if "ASKS" in os.environ:
                say({"id": "roots", "method": "roots/list"})
        if method == "notifications/change":
            say({"method": "notifications/tools/list_changed"})
    elif method == "initialize" and os.path.exists(os.environ.get("REFUSES", "")):
        with open(os.environ["REFUSES"]) as code:
            say({"id": request, "error": {"code": int(code.read()), "message": "the database is locked"}})
    elif method == "initialize":
        client = message["params"]
        version = os.environ.get("SPEAKS", message["params"]["protocolVersion"])
        is_gated = "GATED" in os.environ or os.path.exists(os.environ.get("GATE", ""))
        if is_gated or message["params"].get("clientInfo", {}).get("name") == "patient":
            beacon.sendall(b"asked\n")
            beacon.recv(100)
            beacon.sendall(b"goes on\n")
        say({"id": request, "result": {
            "protocolVersion": version, "capabilities": CAPABILITIES,
            "serverInfo": {"name": "legacy.py", "version": "1"}}})
    elif method == "server/discover" and "DISCOVER" in os.environ:
        # A question of the next revision, before anything else: servers take it in different ways.
        beacon.sendall(b"discover\n")
        if os.environ["DISCOVER"] == "exit":
            os._exit(3)
        elif os.environ["DISCOVER"] == "error":
            say({"id": request, "error": {"code": -32099, "message": "not before initialize"}})
    elif method == "ping":
        say({"id": request, "result": {}})
    elif method == "tools/list":
        lists += 1
        say({"id": request, "result": {"tools": TOOLS, "page": message.get("params", {}).get("cursor")}})
    elif method in ("resources/subscribe", "resources/unsubscribe"):
        uri = message["params"]["uri"]
        if "BEACON" in os.environ:
            beacon.sendall(f"{method[10:]} {uri}\n".encode())
        if uri == "a:none":
            say({"id": request, "error": {"code": -32002, "message": "no such resource", "data": {"uri": uri}}})
        elif uri != "a:never":
            say({"id": request, "result": {}})
    elif method in ("resources/read", "completion/complete"):
        # For a word of the test.
        beacon.sendall(f"{method}\n".encode())
        say({"id": request, "result": {"word": beacon.recv(100).decode()}})
    elif method == "tools/call":
        result = call(request, message["params"])
        if result is not None:
            say({"id": request, "result": result})
    else:
        say({"id": request, "error": {"code": -32601, "message": "method not found"}})


for line in sys.stdin:
    answer(json.loads(line))

if "BYE" in os.environ:
    # Its input has ended, and nobody has killed it.
    beacon.sendall(b"bye\n")
