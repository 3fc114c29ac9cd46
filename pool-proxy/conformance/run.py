"""Runs the conformance suite against pool-proxy, and with --all against other proxies too.

Fails if a scenario that is expected to pass fails, and if one that is expected to be missed passes.
"""

import argparse
import shutil
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import report
from expectations import Expectations, deviations
from subjects import DoesNotStart, Subject, others, ours
from suite import ScenarioResult, Suite

HERE = Path(__file__).parent
ROOT = HERE.parent.parent


@dataclass
class Run:
    subject: Subject
    revision: str
    server: str
    results: list
    seconds: float
    does_not_start: bool = False

    @property
    def title(self):
        return f"{self.subject.name} ({self.subject.mode}), {self.revision} over a {self.server} server"

    @property
    def scored(self):
        return [result for result in self.results if result.scored]


def plan(program, expectations, compared):
    """Our own runs as they are expected; the others meet each era of clients and servers that can work at all."""
    for revision, server, sharing in expectations.runs:
        yield ours(program, sharing), revision, server
    for subject in compared:
        for revision, server in (("2025-11-25", "legacy"), ("2026-07-28", "legacy"), ("2026-07-28", "modern")):
            yield subject, revision, server


def run_once(suite, subject, revision, server, into: Path):
    started = time.monotonic()
    does_not_start = False
    try:
        with open(into / "proxy.log", "wb") as log, subject.endpoint(server, log) as url:
            results = suite.run(url, revision, into / "results")
    except DoesNotStart as reason:
        scored, _ = suite.scenarios(revision)
        results = [ScenarioResult(name, True, [str(reason)]) for name in scored]
        does_not_start = True
    return Run(subject, revision, server, results, time.monotonic() - started, does_not_start)


def shortened(sentence):
    return sentence if len(sentence) < 400 else f"{sentence[:400]}…"


def arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--proxy", type=Path, default=ROOT / "target/debug/pool-proxy", help="the program to test")
    parser.add_argument("--installed", type=Path, default=ROOT / "target/conformance", help="where the suite is")
    parser.add_argument("--all", action="store_true", help="the other proxies, too")
    parser.add_argument("--planned", action="store_true", help="also runs that are not expected to work yet")
    parser.add_argument("--only", default="", help="only runs with this in their title")
    parser.add_argument("--write", type=Path, help="the document whose tables to renew")
    return parser.parse_args()


def main():
    options = arguments()
    suite = Suite(options.installed / "node_modules")
    expectations = Expectations(HERE / "expectations.toml", options.planned)
    compared = []
    if options.all:
        compared = others(suite.node, options.installed / "others/node_modules", options.installed / "others/venv/bin")
    output = options.installed / "output"
    shutil.rmtree(output, ignore_errors=True)
    runs, wrong = [], 0
    for number, (subject, revision, server) in enumerate(plan(str(options.proxy), expectations, compared)):
        title = Run(subject, revision, server, [], 0).title
        if options.only not in title:
            continue
        into = output / str(number)
        into.mkdir(parents=True)
        run = run_once(suite, subject, revision, server, into)
        runs.append(run)
        passed = sum(result.passed for result in run.scored)
        print(f"{passed:3} of {len(run.scored)}  {run.seconds:5.1f} s  {title}", flush=True)
        if subject.name == "pool-proxy":
            unexpected = deviations(run.results, expectations.misses(revision, server, subject.mode))
            wrong += len(unexpected)
            for sentence in unexpected:
                print(f"      !! {shortened(sentence)}", flush=True)
    if options.write:
        report.renew(options.write, runs, expectations)
    print(f"{len(runs)} runs, {wrong} scenarios not as expected; all output is in {output}")
    return 1 if wrong or not runs else 0


if __name__ == "__main__":
    sys.exit(main())
