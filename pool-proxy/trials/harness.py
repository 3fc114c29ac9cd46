"""What all trials of pool-proxy share: a running proxy, and a look at the children that it started."""

import argparse
import contextlib
import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
PROGRAM = HERE.parent.parent / "target/debug/pool-proxy"
END_TIMEOUT_S = 40
# On a busy machine a process that was killed takes a moment to go.
GONE_WITHIN_S = 5
# Far longer than any of them takes.
QUICK_MAX_S = 240


def options_of(description, **numbers):
    """The options of a trial. A number is given as a value for the whole trial, one for the short form, and its meaning.

    In the short form a bound of time is one that also holds on a busy machine.
    """
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--proxy", type=Path, default=PROGRAM, help="the program to test")
    parser.add_argument("--quick", action="store_true", help="the short form: the same checks with smaller numbers")
    for name, (whole, short, meaning) in numbers.items():
        meaning += f" ({whole}, or {short} with --quick)"
        parser.add_argument(f"--{name.replace('_', '-')}", type=type(whole), help=meaning)
    options = parser.parse_args()
    for name, (whole, short, _) in numbers.items():
        if getattr(options, name) is None:
            setattr(options, name, short if options.quick else whole)
    if options.quick:
        signal.signal(signal.SIGALRM, too_late)
        signal.alarm(QUICK_MAX_S)
    return options


def too_late(*_):
    """Ends the trial. The proxy is killed on the way out, and its guardian ends its children."""
    raise SystemExit(f"the trial has not ended within {QUICK_MAX_S} s")


@dataclass
class Proxy:
    """A running proxy. Its children carry the mark in their environment."""

    pid: int
    port: int
    mark: str

    def children(self):
        pids = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]
        return [pid for pid in pids if self.started(pid)]

    def children_after(self, limit_s):
        """How many children are left when this time is over, or none as soon as that is so."""
        until = time.monotonic() + limit_s
        while (left := len(self.children())) and time.monotonic() < until:
            time.sleep(0.05)
        return left

    def started(self, pid):
        """Whether this proxy started this process, which lives."""
        try:
            return f"TRIAL={self.mark}".encode() in Path(f"/proc/{pid}/environ").read_bytes()
        except OSError:
            return False

    def memory_kib(self):
        status = Path(f"/proc/{self.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+)", status)[1])


def server(name, program, sharing, *more):
    """A server's part of the configuration, without its mark."""
    command = json.dumps([sys.executable, str(HERE / program)])
    lines = [f"[servers.{name}]", f"command = {command}", f'sharing = "{sharing}"', 'env.TRIAL = "MARK"']
    return "\n".join([*lines, *more])


def token_of(principal):
    return f"token-of-{principal}"


def tokens(principals):
    digests = ((principal, hashlib.sha256(token_of(principal).encode()).hexdigest()) for principal in principals)
    return "\n".join(f'[tokens.{principal}]\nsha256 = "{digest}"' for principal, digest in digests)


@contextlib.contextmanager
def running_proxy(program, *parts, exit_expected=0):
    """A proxy with this configuration. It must end by itself at SIGTERM, as expected, and leave no child."""
    mark = f"{os.getpid()}-{time.time_ns()}"
    with tempfile.TemporaryDirectory() as directory:
        config, log_path = Path(directory) / "trial.toml", Path(directory) / "proxy.log"
        config.write_text("\n".join(['listen = "127.0.0.1:0"', *parts]).replace("MARK", mark) + "\n")
        with open(log_path, "w") as log:
            process = subprocess.Popen(
                [program, "serve", "--config", config],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                start_new_session=True,
            )
        try:
            found = re.search(r"http://127\.0\.0\.1:(\d+)", process.stdout.readline())
            if not found:
                raise SystemExit(f"the proxy did not start: {log_path.read_text()}")
            proxy = Proxy(process.pid, int(found[1]), mark)
            yield proxy
            process.terminate()
            if process.wait(END_TIMEOUT_S) != exit_expected:
                log_end = log_path.read_text()[-3000:]
                raise SystemExit(f"the proxy ended with {process.returncode} at SIGTERM: {log_end}")
            if left := proxy.children_after(GONE_WITHIN_S):
                raise SystemExit(f"the proxy left {left} children")
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
