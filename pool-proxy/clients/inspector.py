"""The inspector's command line as a client. Arguments: node, installation and era; the trials as JSON."""

import json
import os
import subprocess
import sys
import tempfile

COMMAND_TIMEOUT_S = 30


def inspect(node, installed, era, url, method, *more):
    program = f"{installed}/node_modules/.bin/mcp-inspector"
    command = [node, program, "--cli", url, "--transport", "http", "--protocol-era", era, "--method", method, *more]
    # It keeps a catalogue in the home directory.
    with tempfile.TemporaryDirectory() as home:
        environment = {**os.environ, "HOME": home}
        done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=COMMAND_TIMEOUT_S)
    if done.returncode != 0:
        raise ValueError(f"{method} ended with {done.returncode}: {done.stdout}{done.stderr}")
    return done.stdout


def main(setting, trials):
    node, installed, era = setting.split(" ")
    failures = 0
    for trial in trials:
        try:
            listed = inspect(node, installed, era, trial["url"], "tools/list")
            if f'"{trial["tool"]}"' not in listed:
                raise ValueError(f"no {trial['tool']} in {listed}")
            given = ["--tool-name", trial["tool"], "--tool-args-json", json.dumps(trial["arguments"])]
            answer = inspect(node, installed, era, trial["url"], "tools/call", *given)
            if trial["expects"] not in answer:
                raise ValueError(f"{trial['tool']} replied {answer}")
            print(f"ok {trial['server']}")
        except (ValueError, subprocess.TimeoutExpired) as error:
            failures += 1
            print(f"FAILED {trial['server']}: {error}")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], json.loads(sys.argv[2])))
