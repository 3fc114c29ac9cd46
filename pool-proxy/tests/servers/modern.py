"""An MCP server of revision 2026-07-28, whose tools do what a test needs. It needs no packages.

If BEACON names a socket, it connects to it and says its process id: the end of that connection is its own.
It also says which first messages and which subscriptions it gets.
"""
import json
import os
import socket
import sys

beacon = None
if "BEACON" in os.environ:
    beacon = socket.socket(socket.AF_UNIX)
    beacon.connect(os.environ["BEACON"])
    beacon.sendall(b"%d\n" % os.getpid())

VERSION = os.environ.get("SPEAKS", "2026-07-28")
TTL_MS = int(os.environ.get("TTL_MS", "60000"))
META = "io.modelcontextprotocol/"
CAPABILITIES = {"tools": {"listChanged": True}, "resources": {"subscribe": True}, "logging": {}}
if os.path.exists(os.environ.get("GROWN", "")):
    CAPABILITIES["prompts"] = {}
TOOLS = [
    {"name": "echo", "inputSchema": {"type": "object"}},
    {"name": "region", "inputSchema": {
        "type": "object", "properties": {"region": {"type": "string", "x-mcp-header": "Region"}}}},
]
lists = 0
# The id of a request that is answered after a later one.
late = None
# The open subscriptions, by their ids.
listening = {}


def tell(line):
    if beacon:
        beacon.sendall(line.encode() + b"\n")


def say(message):
    sys.stdout.write(json.dumps({"jsonrpc": "2.0", **message}) + "\n")
    sys.stdout.flush()


def reply(request, result):
    say({"id": request, "result": {"resultType": "complete", **result}})


def refuse(request, code, message, data=None):
    say({"id": request, "error": {"code": code, "message": message, **({"data": data} if data else {})}})


def cacheable(result):
    return {**result, "ttlMs": TTL_MS, "cacheScope": "private"}


def announce(method, params, is_wanted):
    for request, wanted in listening.items():
        if is_wanted(wanted):
            say({"method": method, "params": {**params, "_meta": {META + "subscriptionId": request}}})


def text(value):
    return {"content": [{"type": "text", "text": str(value)}]}


def call(request, params):
    name, arguments = params["name"], params.get("arguments", {})
    if name == "echo":
        return text(arguments["text"])
    if name == "region":
        return text(arguments["region"])
    if name == "pid":
        return text(os.getpid())
    if name == "lists":
        return text(lists)
    if name == "meta":
        return text(json.dumps(params["_meta"]))
    if name == "hold":
        token = params["_meta"]["progressToken"]
        say({"method": "notifications/progress", "params": {"progressToken": token, "progress": 1}})
        return None
    if name == "ask":
        if "inputResponses" not in params:
            question = {"method": "elicitation/create", "params": {"message": "who?"}}
            say({"id": request, "result": {
                "resultType": "input_required", "inputRequests": {"who": question}, "requestState": "of-pid-%d" % os.getpid()}})
            return None
        return text(json.dumps([params["inputResponses"], params["requestState"]]))
    if name == "change":
        announce("notifications/tools/list_changed", {}, lambda wanted: wanted.get("toolsListChanged"))
        return text("changed")
    if name == "update":
        uri = arguments["uri"]
        announce("notifications/resources/updated", {"uri": uri},
                 lambda wanted: uri in wanted.get("resourceSubscriptions", []))
        return text("updated")
    return {"isError": True, **text("no such tool")}


def discover(request):
    reply(request, cacheable({
        "supportedVersions": [VERSION], "capabilities": CAPABILITIES, "instructions": "be kind",
        "_meta": {META + "serverInfo": {"name": "modern.py", "version": "1"}}}))


def listen(request, params):
    wanted = params["notifications"]
    uris = sorted(wanted.get("resourceSubscriptions", []))
    tell("listen " + ",".join([kind for kind in sorted(wanted) if wanted[kind] is True] + uris))
    if "a:refused" in uris:
        refuse(request, -32602, "no such resource")
        return
    agreed = {kind: value for kind, value in wanted.items() if value is True}
    known = [uri for uri in uris if uri != "a:none"]
    if known:
        agreed["resourceSubscriptions"] = known
    listening[request] = agreed
    say({"method": "notifications/subscriptions/acknowledged",
         "params": {"notifications": agreed, "_meta": {META + "subscriptionId": request}}})


def answer(message):
    global lists, late
    method, request, params = message.get("method"), message.get("id"), message.get("params", {})
    if method in ("server/discover", "initialize"):
        tell(method)
    if request is None:
        if method == "notifications/cancelled":
            wanted = listening.pop(params["requestId"], None)
            tell("cancelled" if wanted is None else "unlisten")
    elif method == "initialize":
        # As a server that has only this revision: it is a method like any other that is unknown.
        refuse(request, -32601, "method not found")
        if late is not None:
            discover(late)
    elif params.get("_meta", {}).get(META + "protocolVersion") != VERSION:
        refuse(request, -32022, "unsupported protocol version", {"supported": [VERSION]})
    elif method == "server/discover":
        if "LATE" in os.environ:
            late = request
        else:
            discover(request)
    elif method == "tools/list":
        lists += 1
        reply(request, cacheable({"tools": TOOLS, "page": params.get("cursor")}))
    elif method == "subscriptions/listen":
        listen(request, params)
    elif method == "tools/call":
        result = call(request, params)
        if result is not None:
            reply(request, result)
    else:
        refuse(request, -32601, "method not found")


for line in sys.stdin:
    answer(json.loads(line))

if "BYE" in os.environ:
    # Its input has ended, and nobody has killed it.
    beacon.sendall(b"bye\n")
