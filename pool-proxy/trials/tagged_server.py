"""A stdio MCP server (2025-11-25) that tells on whoever brings it together with strangers.

Each call names its principal and its session. Each reply repeats both, and names every principal and session
that this process ever served. What it says beside its replies (progress, updates, questions) carries the tag of
the call that caused it.
"""

import json
import os
import sys
import threading
import time

lock = threading.Lock()
principals, sessions, watched = set(), set(), set()
questions = {}


def send(message):
    line = json.dumps({"jsonrpc": "2.0", **message}, separators=(",", ":")) + "\n"
    with lock:
        sys.stdout.write(line)
        sys.stdout.flush()


def call_tool(request):
    params = request["params"]
    given = params["arguments"]
    tag = given["tag"]
    with lock:
        principals.add(given["principal"])
        sessions.add(given["session"])
    if given.get("milliseconds"):
        time.sleep(given["milliseconds"] / 1000)
    token = params.get("_meta", {}).get("progressToken")
    if token is not None:
        for step in (1, 2):
            progress = {"progressToken": token, "progress": step, "message": json.dumps(tag)}
            send({"method": "notifications/progress", "params": progress})
    # A part of what all subscribe to. Of a shared child nothing but the URI reaches a client.
    uri = f"test://same/{tag['principal']}/{tag['session']}"
    updated = {"method": "notifications/resources/updated", "params": {"uri": uri, "_meta": {"tag": tag}}}
    if params["name"] == "touch" and "test://same" in watched:
        send(updated)
    for _ in range(given.get("flood", 0)):
        send(updated)
    said = ask(tag) if params["name"] == "ask" else None
    with lock:
        told = {"tag": tag, "pid": os.getpid(), "principals": sorted(principals), "sessions": sorted(sessions)}
    told["said"] = said
    send({"id": request["id"], "result": {"content": [{"type": "text", "text": json.dumps(told)}]}})


def ask(tag):
    """Asks the client's model to repeat the tag. Every process numbers its questions alike."""
    arrived = threading.Event()
    with lock:
        number = len(questions) + 1
        questions[number] = [arrived, None]
    words = {"role": "user", "content": {"type": "text", "text": json.dumps(tag)}}
    send({"id": number, "method": "sampling/createMessage", "params": {"messages": [words], "maxTokens": 9}})
    arrived.wait()
    reply = questions[number][1]
    return reply["result"]["content"]["text"] if "result" in reply else "refused"


def answer(request):
    method = request["method"]
    if method == "initialize":
        capabilities = {"tools": {}, "resources": {"subscribe": True}}
        version = request["params"]["protocolVersion"]
        info = {"name": "tagged", "version": "1.0.0"}
        return {"protocolVersion": version, "capabilities": capabilities, "serverInfo": info}
    if method == "tools/list":
        names = ("whoami", "touch", "ask")
        return {"tools": [{"name": name, "inputSchema": {"type": "object"}} for name in names]}
    if method == "resources/subscribe":
        watched.add(request["params"]["uri"])
        return {}
    if method == "resources/unsubscribe":
        watched.discard(request["params"]["uri"])
        return {}
    return {} if method == "ping" else None


def take(message):
    if "method" not in message:
        question = questions.get(message["id"])
        if question:
            question[1] = message
            question[0].set()
    elif "id" not in message:
        return
    elif message["method"] == "tools/call":
        threading.Thread(target=call_tool, args=(message,), daemon=True).start()
    else:
        result = answer(message)
        if result is None:
            send({"id": message["id"], "error": {"code": -32601, "message": "no such method"}})
        else:
            send({"id": message["id"], "result": result})


if __name__ == "__main__":
    for line in sys.stdin:
        take(json.loads(line))
