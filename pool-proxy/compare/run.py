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
import time
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
sys.path.insert(0, str(HERE.parent / "conformance"))

from subjects import DoesNotStart, Subject, others, ours  # noqa: E402

LOAD_TIMEOUT_S = 60
SCENARIOS = ["instant-16", "instant-64", "serial", "everything"]
OTHERS = [("supergateway", "stateful"), ("supergateway", "stateless"), ("npm", "default"), ("PyPI", "default")]


class CouldNotLook(Exception):
    """A figure of the system could not be read. It is not taken for zero, which meets most bars."""


@dataclass(frozen=True)
class Scenario:
    key: str
    name: str
    server: tuple
    tool: str
    clients: int


@dataclass
class Measured:
    """The figures of one subject in one scenario, one of each per round."""

    per_second: list = field(default_factory=list)
    children: list = field(default_factory=list)
    p99_ms: list = field(default_factory=list)
    processes: list = field(default_factory=list)
    tree_mib: list = field(default_factory=list)
    own_mib: list = field(default_factory=list)
    failures: list = field(default_factory=list)


def scenarios(load, clients_installed):
    yield Scenario("instant-16", "instant server, 16 clients", (str(load), "server"), "echo", 16)
    yield Scenario("instant-64", "instant server, 64 clients", (str(load), "server"), "echo", 64)
    serial = (str(load), "server", "--milliseconds", "10")
    yield Scenario("serial", "serial server, 10 ms, 16 clients", serial, "echo", 16)
    everything = clients_installed / "node_modules/@modelcontextprotocol/server-everything/dist/index.js"
    node = next(clients_installed.glob("node_modules/node-linux-*/bin/node"), None)
    if node and everything.exists():
        yield Scenario("everything", "server-everything, 16 clients", (str(node), str(everything), "stdio"), "echo", 16)
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


def has_bar(scenario, subject):
    """Whether a bar is about this subject."""
    if subject.name == "pool-proxy":
        return subject.mode == "shared"
    return scenario.key == "instant-16" or (scenario.key == "everything" and "crate" in subject.name)


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
            said = subprocess.run(command, stdout=subprocess.PIPE, text=True, timeout=LOAD_TIMEOUT_S).stdout
            tree = [proxy.pid, *descendants(proxy.pid)]
            measured.processes.append(len(tree) - 1)
            measured.children.append(sum(runs(pid, scenario.server) for pid in tree))
            measured.tree_mib.append(sum(resident_mib(pid) or 0 for pid in tree))
            measured.own_mib.append(own_mib(proxy.pid))
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


def runs(pid, server):
    """Whether this process is one of the server: the guardian is none."""
    with contextlib.suppress(OSError):
        words = Path(f"/proc/{pid}/cmdline").read_bytes().rstrip(b"\0").split(b"\0")
        return [word.decode(errors="replace") for word in words] == list(server)
    return False


def resident_mib(pid):
    """None if the process has just ended."""
    with contextlib.suppress(OSError, IndexError):
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / (1 << 20)
    return None


def own_mib(pid):
    if not (mib := resident_mib(pid)):
        raise CouldNotLook(f"the memory of process {pid} cannot be read")
    return mib


def table(found):
    lines = ["| proxy | requests/s | p99 ms | processes | MiB of all | MiB of the proxy | failures |"]
    lines.append("|---|---|---|---|---|---|---|")
    for subject, measured in found.items():
        if not measured.per_second:
            continue
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

    def of_mine(figure):
        return statistics.median(getattr(mine, figure)) if mine and mine.per_second else None

    def beside(name, figure, mode=None):
        """By a subject of this name, which may not have been measured."""
        other = next((one for one in found if name in one.name and mode in (None, one.mode)), None)
        return ratio(found, shared, other, figure) if other and of_mine(figure) is not None else None

    if scenario.key == "instant-16":
        yield bar("requests/s / the bare example's", beside("bare example", "per_second"), ">=", 0.8)
        yield bar("requests/s / the crate's", beside("crate", "per_second"), ">=", 2.5)
        yield bar("p99 / the crate's", beside("crate", "p99_ms"), "<=", 0.6)
        for name, mode in OTHERS:
            yield bar(f"requests/s / {name} {mode}", beside(name, "per_second", mode), ">=", 10)
    elif scenario.key == "instant-64":
        yield bar("MiB of the proxy", of_mine("own_mib"), "<=", 24)
    elif scenario.key == "serial":
        yield bar("requests/s", of_mine("per_second"), ">=", 1300)
    else:
        yield children_bar(mine.children if mine else [])
        yield bar("requests/s / the crate's", beside("crate", "per_second"), ">=", 1.4)


def bar(what, figure, side, limit):
    if figure is None:
        return f"{what}: NOT MEASURED (bar: {side} {limit})", False
    meets = figure >= limit if side == ">=" else figure <= limit
    return f"{what}: {figure:.2f} (bar: {side} {limit}) {'met' if meets else 'MISSED'}", meets


def children_bar(counts):
    """A server that answered has a child, so zero says that none was seen, not that there was none."""
    if 0 in counts:
        return "children: NOT SEEN in a round, so it is not known how many there were (bar: 1 to 2)", False
    return bar("children", statistics.median(counts) if counts else None, "<=", 2)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--proxy", type=Path, default=ROOT / "target/release/pool-proxy")
    parser.add_argument("--load", type=Path, default=ROOT / "target/release/pool-proxy-load")
    parser.add_argument("--example", type=Path, help="the program of pool-stdio's example axum_proxy")
    parser.add_argument("--crate", type=Path, help="the program of the crate mcp-proxy 0.6.0")
    parser.add_argument("--installed", type=Path, default=ROOT / "target/conformance")
    parser.add_argument("--clients", type=Path, default=ROOT / "target/clients")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--scenario", action="append", choices=SCENARIOS, help="only this; can be repeated")
    parser.add_argument("--bars", action="store_true", help="only the proxies that a bar of the scenario names")
    parser.add_argument("--minutes", type=float, default=40, help="no further round begins after this time")
    options = parser.parse_args()
    until = time.monotonic() + options.minutes * 60
    wanted = options.scenario or SCENARIOS
    chosen = [one for one in scenarios(options.load, options.clients) if one.key in wanted]
    verdicts = [
        (f"{key}: NOT MEASURED: its server is not installed", False)
        for key in wanted
        if all(one.key != key for one in chosen)
    ]
    for scenario in chosen:
        found = {
            subject: Measured() for subject in subjects(options) if not options.bars or has_bar(scenario, subject)
        }
        rounds = rounds_of(scenario, found, options, until)
        print(f"\n## {scenario.name}, {rounds} rounds of {options.rounds}\n\n{table(found)}\n", flush=True)
        judged = list(judge(scenario, found))
        print("\n".join(f"* {sentence}" for sentence, _ in judged), flush=True)
        few = "" if rounds >= options.rounds else f", in {rounds} rounds only: the time was over"
        verdicts += [(f"{scenario.name}: {sentence}{few}", meets) for sentence, meets in judged]
    print("\n## Bars\n")
    print("\n".join(f"* {sentence}" for sentence, _ in verdicts), flush=True)
    return 0 if all(meets for _, meets in verdicts) else 1


def rounds_of(scenario, found, options, until):
    """Measures all subjects in turns, each time beginning with another. Returns how many rounds were whole."""
    for number in range(options.rounds):
        if time.monotonic() > until:
            return number
        turns = list(found.items())
        first = number % max(len(turns), 1)
        for subject, measured in turns[first:] + turns[:first]:
            try:
                measure(subject, scenario, options.load, measured)
            except (CouldNotLook, DoesNotStart, subprocess.TimeoutExpired) as reason:
                print(f"!! {subject.name} {subject.mode} takes no part: {reason}", file=sys.stderr)
                del found[subject]
    return options.rounds


if __name__ == "__main__":
    sys.exit(main())
