"""Measures pool-proxy beside other proxies, in turns, and says how it stands to its bars.

.ci/compare-proxies builds and installs what it needs, and runs it. The other proxies are those that .ci/proxy-peers
installs; the crate mcp-proxy takes part if --crate names its program.
"""

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
sys.path.insert(0, str(HERE.parent / "conformance"))

from subjects import DoesNotStart, Subject, others, ours  # noqa: E402

LOAD_TIMEOUT_S = 120


@dataclass(frozen=True)
class Scenario:
    name: str
    server: tuple
    tool: str
    clients: int


@dataclass
class Measured:
    """The figures of one subject in one scenario, one of each per round."""

    per_second: list = field(default_factory=list)
    p99_ms: list = field(default_factory=list)
    processes: list = field(default_factory=list)
    tree_mib: list = field(default_factory=list)
    own_mib: list = field(default_factory=list)
    failures: list = field(default_factory=list)


def scenarios(load, clients_installed):
    yield Scenario("instant server, 16 clients", (str(load), "server"), "echo", 16)
    yield Scenario("instant server, 64 clients", (str(load), "server"), "echo", 64)
    yield Scenario("serial server, 10 ms, 16 clients", (str(load), "server", "--milliseconds", "10"), "echo", 16)
    everything = clients_installed / "node_modules/@modelcontextprotocol/server-everything/dist/index.js"
    node = next(clients_installed.glob("node_modules/node-linux-*/bin/node"), None)
    if node and everything.exists():
        yield Scenario("server-everything, 16 clients", (str(node), str(everything), "stdio"), "echo", 16)
    else:
        print("!! SKIPPED: server-everything, which .ci/real-clients installs", file=sys.stderr)


def subjects(options):
    yield ours(str(options.proxy), "shared")
    yield ours(str(options.proxy), "session")
    if options.example:
        yield Subject("bare example", "", (str(options.example), "127.0.0.1:PORT", "SERVER"))
    if options.crate:
        yield Subject("crate mcp-proxy 0.6.0", "", (str(options.crate), "--config", "CONFIG"))
    modules = options.installed / "others/node_modules"
    node = next((options.installed / "node_modules").glob("node-linux-*/bin/node"), None)
    if node and modules.exists():
        yield from others(node, modules, options.installed / "others/venv/bin")
    else:
        print("!! SKIPPED: the proxies that .ci/proxy-peers installs", file=sys.stderr)


def measure(subject, scenario, load, measured):
    with tempfile.TemporaryDirectory() as directory:
        log_path = Path(directory) / "proxy.log"
        configured = with_config(subject, scenario, Path(directory))
        with open(log_path, "wb") as log, configured.in_front_of(scenario.server, log) as proxy:
            command = [load, "clients", "--address", f"127.0.0.1:{proxy.port}", "--clients", str(scenario.clients)]
            command += ["--tool", f"child/{scenario.tool}" if "crate" in subject.name else scenario.tool]
            if subject.name == "bare example":
                command += ["--without-sessions", "--path", "/"]
            elif "crate" in subject.name:
                command += ["--path", "/"]
            elif subject.mode == "stateless":
                command += ["--without-sessions"]
            with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as clients:
                said, _ = clients.communicate(timeout=LOAD_TIMEOUT_S)
            tree = [proxy.pid, *descendants(proxy.pid)]
            measured.processes.append(len(tree) - 1)
            measured.tree_mib.append(sum(resident_mib(pid) for pid in tree))
            measured.own_mib.append(resident_mib(proxy.pid))
    counted = json.loads(said)
    measured.per_second.append(counted["requests_per_second"])
    measured.p99_ms.append(counted["p99_ms"] or float("inf"))
    measured.failures.append(counted["failures"])
    if counted["first_failure"]:
        print(f"   {subject.name} {subject.mode}: {counted['first_failure'][:200]}", file=sys.stderr)


def with_config(subject, scenario, directory):
    """The crate takes its server from a file."""
    if "CONFIG" not in subject.command:
        return subject
    program, *arguments = scenario.server
    config = directory / "proxy.toml"
    config.write_text(
        '[proxy]\nname = "p"\n[proxy.listen]\nhost = "127.0.0.1"\nport = PORT\n'
        f'[[backends]]\nname = "child"\ntransport = "stdio"\ncommand = {json.dumps(program)}\n'
        f"args = {json.dumps(arguments)}\n"
    )
    command = tuple(str(config) if word == "CONFIG" else word for word in subject.command)
    return Subject(subject.name, subject.mode, command, config=config)


def descendants(pid):
    parents = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError, IndexError):
                after_name = (entry / "stat").read_text().rpartition(")")[2]
                parents.setdefault(int(after_name.split()[1]), []).append(int(entry.name))
    found, to_look_at = [], [pid]
    while to_look_at:
        children = parents.get(to_look_at.pop(), [])
        found += children
        to_look_at += children
    return found


def resident_mib(pid):
    with contextlib.suppress(OSError):
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / (1 << 20)
    return 0.0


def table(found):
    lines = ["| proxy | requests/s | p99 ms | processes | MiB of all | MiB of the proxy | failures |"]
    lines.append("|---|---|---|---|---|---|---|")
    for subject, measured in found.items():
        median = statistics.median
        cells = [
            f"{subject.name} {subject.mode}".strip(),
            f"{median(measured.per_second):.0f}",
            f"{median(measured.p99_ms):.2f}",
            f"{median(measured.processes):.0f}",
            f"{median(measured.tree_mib):.0f}",
            f"{median(measured.own_mib):.0f}",
            f"{sum(measured.failures)}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def ratio(found, name, other, figure):
    """The median over the rounds of our figure by another's; both were measured in the same round.

    None if the other was never measured.
    """
    mine = next(measured for subject, measured in found.items() if (subject.name, subject.mode) == name)
    theirs = next((measured for subject, measured in found.items() if subject == other), None)
    if theirs is None:
        return None
    ratios = [a / b for a, b in zip(getattr(mine, figure), getattr(theirs, figure)) if b]
    return statistics.median(ratios) if ratios else None


def judge(scenario, found):
    """What has a bar: what it is about, the figure, the bar, and whether the figure meets it."""
    shared = ("pool-proxy", "shared")
    mine = next((measured for subject, measured in found.items() if (subject.name, subject.mode) == shared), None)
    if mine is None or not mine.per_second:
        return
    if scenario.name == "instant server, 16 clients":
        for other in found:
            if other.name == "bare example":
                yield bar("requests/s / bare example's", ratio(found, shared, other, "per_second"), ">=", 0.8)
            elif "crate" in other.name:
                yield bar("requests/s / the crate's", ratio(found, shared, other, "per_second"), ">=", 2.5)
                yield bar("p99 / the crate's", ratio(found, shared, other, "p99_ms"), "<=", 0.6)
            elif other.name != "pool-proxy":
                name = f"requests/s / {other.name} {other.mode}"
                yield bar(name, ratio(found, shared, other, "per_second"), ">=", 10)
    elif scenario.name == "instant server, 64 clients":
        yield bar("MiB of the proxy", statistics.median(mine.own_mib), "<=", 24)
    elif scenario.name.startswith("serial"):
        yield bar("requests/s", statistics.median(mine.per_second), ">=", 1300)
    else:
        yield bar("children", statistics.median(mine.processes), "<=", 2)
        for other in found:
            if "crate" in other.name:
                yield bar("requests/s / the crate's", ratio(found, shared, other, "per_second"), ">=", 1.4)


def bar(what, figure, side, limit):
    if figure is None:
        return f"{what}: could not be measured (bar: {side} {limit})", False
    meets = figure >= limit if side == ">=" else figure <= limit
    return f"{what}: {figure:.2f} (bar: {side} {limit}) {'met' if meets else 'MISSED'}", meets


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--proxy", type=Path, default=ROOT / "target/release/pool-proxy")
    parser.add_argument("--load", type=Path, default=ROOT / "target/release/pool-proxy-load")
    parser.add_argument("--example", type=Path, help="the program of pool-stdio's example axum_proxy")
    parser.add_argument("--crate", type=Path, help="the program of the crate mcp-proxy 0.6.0")
    parser.add_argument("--installed", type=Path, default=ROOT / "target/conformance")
    parser.add_argument("--clients", type=Path, default=ROOT / "target/clients")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", default="", help="only scenarios with this in their name")
    options = parser.parse_args()
    missed = 0
    for scenario in scenarios(options.load, options.clients):
        if options.only not in scenario.name:
            continue
        found = {subject: Measured() for subject in subjects(options)}
        for _ in range(options.rounds):
            for subject, measured in list(found.items()):
                try:
                    measure(subject, scenario, options.load, measured)
                except DoesNotStart as reason:
                    print(f"!! {subject.name} {subject.mode} takes no part: {reason}", file=sys.stderr)
                    del found[subject]
        print(f"\n## {scenario.name}\n\n{table(found)}\n", flush=True)
        for sentence, meets in judge(scenario, found):
            missed += not meets
            print(f"* {sentence}", flush=True)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
