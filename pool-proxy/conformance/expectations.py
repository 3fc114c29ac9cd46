"""Which scenarios a run is expected to miss, and how a run stands to that."""

import tomllib
from pathlib import Path


class Expectations:
    """The misses of each run with their reasons. All other scenarios are expected to pass."""

    def __init__(self, path: Path, with_planned=False):
        self.runs = {}
        for run in tomllib.loads(path.read_text())["run"]:
            if run.get("planned") and not with_planned:
                continue
            misses = {name: miss["reason"] for miss in run.get("missed", []) for name in miss["scenarios"]}
            self.runs[run["revision"], run["server"], run["sharing"]] = misses

    def misses(self, revision, server, sharing):
        return self.runs[revision, server, sharing]


def deviations(results, misses):
    """What of a run is not as expected, a sentence each."""
    found = []
    known = {result.name for result in results}
    found += [f"{name} is expected to be missed, but there is no such scenario" for name in misses if name not in known]
    for result in results:
        if result.passed and result.name in misses:
            found.append(f"{result.name} passes and is expected to be missed: take it from the expectations")
        if not result.passed and result.name not in misses:
            found.append(f"{result.name} fails: {'; '.join(result.failures)}")
    return found
