"""The official Python SDK as a client. Arguments: the mode of its connect, and the trials as JSON."""

import asyncio
import json
import sys
import traceback

from mcp import Client


async def attempt(mode, trial):
    async with Client(trial["url"], mode=mode) as client:
        tools = [tool.name for tool in (await client.list_tools()).tools]
        if trial["tool"] not in tools:
            raise ValueError(f"no {trial['tool']} among {tools}")
        result = await client.call_tool(trial["tool"], trial["arguments"])
        words = " ".join(part.text for part in result.content)
        if result.is_error or trial["expects"] not in words:
            raise ValueError(f"{trial['tool']} replied {words}")


async def main(mode, trials):
    failures = 0
    for trial in trials:
        try:
            await attempt(mode, trial)
            print(f"ok {trial['server']}")
        except Exception:
            failures += 1
            print(f"FAILED {trial['server']}: {traceback.format_exc()}")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main(sys.argv[1], json.loads(sys.argv[2]))))
