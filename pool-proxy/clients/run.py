"""Real clients, through pool-proxy, to real servers: each lists the tools of each server and calls one.

The servers are server-everything, filesystem and memory (npm), git and time (PyPI), all behind one proxy.
"""

import argparse
import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
# A client that is done with five servers takes seconds.
CLIENT_TIMEOUT_S = 120
END_TIMEOUT_S = 20


def real_servers(installed, work):
    """Name, command, sharing, environment, and a call with a part of its answer."""
    node = str(next(installed.glob("node_modules/node-linux-*/bin/node")))
    modules, python_bin = installed / "node_modules/@modelcontextprotocol", installed / "server/bin"
    files, repository, memory = work / "files", work / "repository", work / "memory.jsonl"
    files.mkdir()
    (files / "hello.txt").write_text("read through the proxy\n")
    make_repository(repository)
    entity = {"type": "entity", "name": "pool", "entityType": "thing", "observations": ["remembered"]}
    memory.write_text(json.dumps(entity) + "\n")
    return [
        {
            "server": "everything",
            "command": [node, f"{modules}/server-everything/dist/index.js", "stdio"],
            "sharing": "session",
            "tool": "echo",
            "arguments": {"message": "echoed through the proxy"},
            "expects": "echoed through the proxy",
        },
        {
            "server": "filesystem",
            "command": [node, f"{modules}/server-filesystem/dist/index.js", str(files)],
            "sharing": "shared",
            "tool": "read_text_file",
            "arguments": {"path": str(files / "hello.txt")},
            "expects": "read through the proxy",
        },
        {
            "server": "memory",
            "command": [node, f"{modules}/server-memory/dist/index.js"],
            "sharing": "shared",
            "env": {"MEMORY_FILE_PATH": str(memory)},
            "tool": "read_graph",
            "arguments": {},
            "expects": "remembered",
        },
        {
            "server": "git",
            "command": [str(python_bin / "mcp-server-git"), "--repository", str(repository)],
            "sharing": "session",
            "tool": "git_log",
            "arguments": {"repo_path": str(repository)},
            "expects": "committed for the trial",
        },
        {
            "server": "time",
            "command": [str(python_bin / "mcp-server-time"), "--local-timezone", "UTC"],
            "sharing": "stateless",
            "tool": "convert_time",
            "arguments": {"source_timezone": "UTC", "time": "12:00", "target_timezone": "Asia/Tokyo"},
            "expects": "21:00",
        },
    ]


def make_repository(repository):
    git = ["git", "-C", str(repository), "-c", "user.name=Trial", "-c", "user.email=trial@example.org"]
    repository.mkdir()
    subprocess.run([*git, "init", "--quiet"], check=True)
    commit = ["commit", "--quiet", "--allow-empty", "--message", "committed for the trial"]
    subprocess.run([*git, *commit], check=True)


def config(servers):
    """The proxy's configuration in TOML. JSON strings and arrays of strings are TOML, too."""
    lines = ['listen = "127.0.0.1:0"']
    for server in servers:
        lines += [f"[servers.{server['server']}]", f"command = {json.dumps(server['command'])}"]
        lines.append(f"sharing = {json.dumps(server['sharing'])}")
        lines += [f"env.{name} = {json.dumps(value)}" for name, value in server.get("env", {}).items()]
    return "\n".join(lines) + "\n"


@contextlib.contextmanager
def proxy(program, servers, work):
    """The base URL of a proxy in front of the servers. It must end by itself at SIGTERM, with success."""
    path = work / "proxy.toml"
    path.write_text(config(servers))
    with open(work / "proxy.log", "w") as log:
        process = subprocess.Popen(
            [program, "serve", "--config", path],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            start_new_session=True,
        )
    try:
        found = re.search(r"http://\S+", process.stdout.readline())
        if not found:
            raise SystemExit(f"the proxy did not start: {(work / 'proxy.log').read_text()}")
        yield found[0]
        process.terminate()
        if process.wait(END_TIMEOUT_S) != 0:
            raise SystemExit(f"the proxy ended with {process.returncode} at SIGTERM")
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def clients(installed):
    """Name of each client in each of its modes, and the command that does all trials with it."""
    node = str(next(installed.glob("node_modules/node-linux-*/bin/node")))
    python = str(installed / "client/bin/python")
    for mode in ("sdk1", "sdk2-legacy", "sdk2-auto"):
        yield f"TypeScript {mode}", [node, str(installed / "typescript.mjs"), mode]
    for mode in ("legacy", "auto"):
        yield f"Python {mode}", [python, str(HERE / "python_client.py"), mode]
    for era in ("legacy", "modern"):
        yield f"inspector {era}", [sys.executable, str(HERE / "inspector.py"), f"{node} {installed} {era}"]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--proxy", type=Path, default=ROOT / "target/debug/pool-proxy", help="the program to test")
    parser.add_argument("--installed", type=Path, default=ROOT / "target/clients", help="where clients and servers are")
    parser.add_argument("--only", default="", help="only clients with this in their name")
    options = parser.parse_args()
    installed = options.installed.resolve()
    # Node looks for packages beside the program.
    (installed / "typescript.mjs").write_text((HERE / "typescript.mjs").read_text())
    failed = 0
    with tempfile.TemporaryDirectory() as directory:
        work = Path(directory)
        servers = real_servers(installed, work)
        with proxy(options.proxy, servers, work) as base:
            keys = ("server", "tool", "arguments", "expects")
            trials = [
                {"url": f"{base}/servers/{server['server']}/mcp", **{key: server[key] for key in keys}}
                for server in servers
            ]
            for name, command in clients(installed):
                if options.only in name:
                    done = subprocess.run(
                        [*command, json.dumps(trials)], capture_output=True, text=True, timeout=CLIENT_TIMEOUT_S
                    )
                    good = done.returncode == 0 and done.stdout.count("ok ") == len(trials)
                    failed += not good
                    print(f"{'ok    ' if good else 'FAILED'} {name}", flush=True)
                    if not good:
                        print(done.stdout, done.stderr)
        if failed:
            print((work / "proxy.log").read_text()[-4000:])
    print(f"{failed} clients failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
