"""A server on the official Python SDK, which serves the revision 2026-07-28 and those before it."""

import anyio
from mcp.server.mcpserver import Context, MCPServer

server = MCPServer("python-sdk")
cancelled = 0


@server.tool()
async def steps(context: Context) -> str:
    """Two steps of progress."""
    for progress in (1, 2):
        await context.report_progress(progress, 2)
    return "done"


@server.tool()
async def wait(context: Context) -> str:
    """Says that it has begun, and waits for its cancel."""
    global cancelled
    try:
        await context.report_progress(0)
        await anyio.sleep_forever()
    finally:
        cancelled += 1


@server.tool(name="cancelled")
async def cancelled_waits() -> str:
    """How many waits were cancelled."""
    return str(cancelled)


@server.tool()
async def change(context: Context) -> str:
    """Says that the tools have changed."""
    await context.notify_tools_changed()
    return "done"


server.run()
