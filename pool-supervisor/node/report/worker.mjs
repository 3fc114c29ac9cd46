// Plays one row by one way, and prints what came of it.
//
//   node worker.mjs WAY ROW MARK

import { ROWS } from './rows.mjs';
import { WAYS } from './ways.mjs';

const [wayName, rowId, mark] = process.argv.slice(2);
const row = ROWS.find(({ id }) => id === rowId);
const way = await WAYS[wayName]();
const env = { PATH: process.env.PATH, REPORT_MARK: mark };
const say = (value) => process.stdout.write(`${JSON.stringify(value)}\n`);

const child = way.start('sh', ['-c', row.script], { env, stdio: ['pipe', 'pipe', 'ignore'] });
let bytes = 0;
let ready = 0;
await new Promise((resolve) => {
  const read = (chunk) => {
    let rest = chunk;
    if (ready < row.ready) {
      const text = chunk.toString('latin1');
      const found = text.split('ready\n').length - 1;
      ready += found;
      rest = { length: chunk.length - found * 6 };
      if (ready >= row.ready) {
        if (row.act === 'endUnread' || row.isUnread) {
          child.stdout.off('data', read);
          child.stdout.pause();
        }
        resolve();
      }
    }
    bytes += rest.length;
  };
  child.stdout.on('data', read);
  if (row.ready === 0) resolve();
});
if (row.act === 'endAfterExit') await child.exited;
if (row.act === 'killHost') {
  if (row.isWriting) child.stdin.write('x'.repeat(1_000_000));
  say({ ready: true });
  await new Promise(() => setInterval(() => {}, 1000));
}
const begin = performance.now();
let written = true;
if (row.act === 'endWhileWriting') {
  written = false;
  child.stdin.write('x'.repeat(1_000_000), () => (written = true));
}
const acts = {
  end: async () => {
    await child.end();
    if (row.bytes) await child.closed;
  },
  endAfterExit: () => child.end(),
  endUnread: () => child.end(),
  endWhileWriting: () => child.end(),
  close: () => child.closed,
  signal: async () => {
    child.kill('SIGINT');
    await child.exited;
  },
};
await acts[row.act]();
const millis = Math.round(performance.now() - begin);
await new Promise((resolve) => setTimeout(resolve, 50));
say({ millis, lost: row.bytes === undefined ? null : row.bytes - bytes, isWritePending: !written, code: child.code() });
// What has to be counted is counted before the sidecar leaves.
await new Promise((resolve) => process.stdin.once('data', resolve));
await way.close?.();
process.exit(0);
