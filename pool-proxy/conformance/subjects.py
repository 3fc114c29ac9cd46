"""The proxies that the suite is run against, and how each is started in front of a stdio server."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

START_TIMEOUT_S = 30
END_TIMEOUT_S = 15
SERVERS = Path(__file__).parent / "servers"


class DoesNotStart(Exception):
    """Why there is no endpoint. Some proxies end if their server is of another era than they expect."""


@dataclass(frozen=True)
class RunningProxy:
    pid: int
    port: int


@dataclass(frozen=True)
class Subject:
    """A proxy in one mode. `command` has PORT and SERVER where the port and the server's command belong."""

    name: str
    mode: str
    command: tuple
    # Whether SERVER is one argument, for a shell.
    shell: bool = False
    # A file in which PORT stands for the port, too.
    config: Path | None = None

    @contextlib.contextmanager
    def endpoint(self, server, log):
        """The URL of this proxy in front of one of our test servers, while the proxy runs."""
        with self.in_front_of((sys.executable, str(SERVERS / f"{server}.py")), log) as proxy:
            yield f"http://127.0.0.1:{proxy.port}/mcp"

    @contextlib.contextmanager
    def in_front_of(self, server_command, log):
        """This proxy in front of a server, while it runs."""
        port = free_port()
        if self.config:
            self.config.write_text(self.config.read_text().replace("PORT", str(port)))
        process = subprocess.Popen(
            self.arguments(server_command, port),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        try:
            wait_until_it_listens(process, port)
            yield RunningProxy(process.pid, port)
        finally:
            end(process)

    def arguments(self, server_command, port):
        arguments = []
        for word in self.command:
            if word == "SERVER":
                arguments += [" ".join(server_command)] if self.shell else server_command
            else:
                arguments.append(word.replace("PORT", str(port)))
        return arguments


def ours(program, sharing):
    command = (program, "serve", "--listen", "127.0.0.1:PORT", "--sharing", sharing, "--", "SERVER")
    return Subject("pool-proxy", sharing, command)


def others(node, modules, python_bin):
    """The proxies to compare with, in the modes that serve streamable HTTP."""
    supergateway = (str(node), str(modules / "supergateway/dist/index.js"), "--stdio", "SERVER")
    supergateway += ("--outputTransport", "streamableHttp", "--port", "PORT", "--logLevel", "none")
    npm = (str(node), str(modules / "mcp-proxy/dist/bin/mcp-proxy.mjs"), "--host", "127.0.0.1")
    npm += ("--port", "PORT", "--", "SERVER")
    pypi = (str(python_bin / "mcp-proxy"), "--host", "127.0.0.1", "--port", "PORT", "--", "SERVER")
    return [
        Subject("supergateway 4.0.0", "stateful", (*supergateway, "--stateful"), shell=True),
        Subject("supergateway 4.0.0", "stateless", supergateway, shell=True),
        Subject("mcp-proxy 6.7.19 (npm)", "default", npm),
        Subject("mcp-proxy 0.13.0 (PyPI)", "default", pypi),
    ]


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def wait_until_it_listens(process, port):
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise DoesNotStart(f"the proxy ended at its start with {process.returncode}")
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.05)
    raise DoesNotStart(f"nothing listens on port {port} after {START_TIMEOUT_S} s")


def end(process):
    """Ends a proxy, and what it leaves behind: some leave their servers."""
    process.terminate()
    try:
        process.wait(END_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        print(f"   !! {process.args[0]} did not end within {END_TIMEOUT_S} s of SIGTERM", file=sys.stderr)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
