// The official TypeScript SDKs as clients. Arguments: which of them, and the trials as JSON.
import process from 'node:process';

const [which, trials] = process.argv.slice(2);

// A connected client of the SDK named.
async function connect(url) {
  const identity = { name: 'trial', version: '1.0.0' };
  if (which === 'sdk1') {
    const { Client } = await import('@modelcontextprotocol/sdk/client/index.js');
    const { StreamableHTTPClientTransport } = await import('@modelcontextprotocol/sdk/client/streamableHttp.js');
    const client = new Client(identity);
    const transport = new StreamableHTTPClientTransport(new URL(url));
    await client.connect(transport);
    return { client, leave: async () => { await transport.terminateSession(); await client.close(); } };
  }
  const { Client, StreamableHTTPClientTransport } = await import('@modelcontextprotocol/client');
  const client = new Client(identity, { versionNegotiation: { mode: which.replace('sdk2-', '') } });
  await client.connect(new StreamableHTTPClientTransport(new URL(url)));
  return { client, leave: () => client.close() };
}

let failures = 0;
for (const { server, url, tool, arguments: given, expects } of JSON.parse(trials)) {
  try {
    const { client, leave } = await connect(url);
    const { tools } = await client.listTools();
    if (!tools.some(({ name }) => name === tool)) throw new Error(`no ${tool} among ${tools.length} tools`);
    const result = await client.callTool({ name: tool, arguments: given });
    const words = JSON.stringify(result.content);
    if (result.isError || !words.includes(expects)) throw new Error(`${tool} replied ${words}`);
    await leave();
    console.log(`ok ${server}`);
  } catch (error) {
    failures += 1;
    console.log(`FAILED ${server}: ${error.stack ?? error}`);
  }
}
process.exit(failures ? 1 : 0);
