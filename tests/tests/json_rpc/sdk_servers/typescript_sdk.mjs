// A server on the official TypeScript SDK, which serves the revision 2026-07-28 and those before it.
import { McpServer } from "@modelcontextprotocol/server";
import { serveStdio } from "@modelcontextprotocol/server/stdio";

const text = (text) => ({ content: [{ type: "text", text }] });
let cancelled = 0;

function sdkServer() {
  const server = new McpServer({ name: "typescript-sdk", version: "1" });
  server.registerTool("steps", { description: "Two steps of progress" }, async (context) => {
    const progressToken = context.mcpReq._meta?.progressToken;
    for (const progress of [1, 2]) {
      const params = { progressToken, progress, total: 2 };
      await context.mcpReq.notify({ method: "notifications/progress", params });
    }
    return text("done");
  });
  server.registerTool("wait", { description: "Says that it has begun, and waits for its cancel" }, async (context) => {
    const { signal } = context.mcpReq;
    const params = { progressToken: context.mcpReq._meta?.progressToken, progress: 0 };
    await context.mcpReq.notify({ method: "notifications/progress", params });
    if (!signal.aborted) await new Promise((resolve) => signal.addEventListener("abort", resolve));
    cancelled += 1;
    return text("never sent");
  });
  server.registerTool("cancelled", { description: "How many waits were cancelled" }, async () => text(`${cancelled}`));
  server.registerTool("change", { description: "Says that the tools have changed" }, async () => {
    server.sendToolListChanged();
    return text("done");
  });
  return server;
}

serveStdio(sdkServer);
