"""Runs the conformance suite against an endpoint and reads what it found."""

import json
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

# Per scenario. The longest one waits for eight seconds on purpose.
SCENARIO_TIMEOUT_MS = 20_000
RUN_TIMEOUT_S = 600


@dataclass
class ScenarioResult:
    name: str
    scored: bool
    failures: list[str]

    @property
    def passed(self):
        return not self.failures


class Suite:
    def __init__(self, modules: Path):
        nodes = sorted(modules.glob("node-linux-*/bin/node"))
        if not nodes:
            raise SystemExit(f"{modules} has no node: run .ci/conformance, which installs it")
        self.node = nodes[0]
        self.package = modules / "@modelcontextprotocol" / "conformance"

    def run(self, url, revision, into: Path):
        """Runs all scenarios of a revision, in the order of its list."""
        into.mkdir(parents=True)
        command = [self.node, self.package / "dist" / "index.js", "server", "--url", url]
        command += ["--requirements", revision, "--timeout", str(SCENARIO_TIMEOUT_MS), "-o", into]
        with open(into / "output.txt", "w") as output:
            subprocess.run(command, stdout=output, stderr=subprocess.STDOUT, timeout=RUN_TIMEOUT_S)
        scored, unscored = self.scenarios(revision)
        results = [read_result(into, name, True) for name in scored]
        return results + [read_result(into, name, False) for name in unscored]

    def scenarios(self, revision):
        """The scored and the unscored scenarios for servers."""
        text = (self.package / "requirements" / f"{revision}.yaml").read_text()
        scored = re.search(r"^server:\n((?:  - .*\n)+)", text, re.M)[1]
        unscored = re.findall(r"- scenario: (\S+)\n    leg: server\n", text)
        return re.findall(r"- (\S+)", scored), unscored


def read_result(into: Path, name, scored):
    """What the suite said of one scenario. A scenario that left no result has failed."""
    found = [path for path in into.glob(f"server-{name}-2*") if (path / "checks.json").exists()]
    if len(found) != 1:
        return ScenarioResult(name, scored, [f"{len(found)} results instead of one"])
    checks = json.loads((found[0] / "checks.json").read_text())
    failures = [f"{check['id']}: {check.get('errorMessage')}" for check in checks if check["status"] == "FAILURE"]
    return ScenarioResult(name, scored, failures)
