// The streams of a child, and those of the host that it gets.

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { PassThrough, Writable } from 'node:stream';
import { test } from 'node:test';
import { promisify } from 'node:util';

import { ChildInput } from '../streams.mjs';
import { closed, first, index, script, withSupervisor } from './common.mjs';

test('input is finished before the supervisor answers, since the child can have exited then', { timeout: 60_000 }, async () => {
  const told = [];
  const silent = { request: () => new Promise(() => {}), tell: (method) => told.push(method) };
  const input = new ChildInput(silent, 'a');
  await new Promise((resolve) => input.end(resolve));
  assert.equal(told[0], 'closeStdin');
});

withSupervisor('stdin of the host reaches every child that inherits it', async (supervisor) => {
  const source = new PassThrough();
  const children = [1, 2, 3].map(() => supervisor.spawn('wc', ['-c'], { stdio: [source, 'pipe', 'inherit'] }));
  const counts = children.map((child) => first(child.stdout));
  // More than a child takes at once, so that the source waits for all of them.
  source.end(Buffer.alloc(1_000_000));
  assert.deepEqual((await Promise.all(counts)).map(Number), [1_000_000, 1_000_000, 1_000_000]);
  const late = supervisor.spawn('cat', { stdio: [source, 'pipe', 'pipe'] });
  assert.deepEqual(await closed(late), [0, null]);
});

withSupervisor('a stream that the host reads itself goes on after a child that shared it', async (supervisor) => {
  const source = new PassThrough();
  const last = new Promise((resolve) => source.on('data', (bytes) => String(bytes) === 'last' && resolve()));
  // It is full, so that the source waits for it, until it ends.
  const child = supervisor.spawn('head', ['-c', '1'], { stdio: [source, 'pipe', 'pipe'] });
  source.write(Buffer.alloc(1_000_000));
  await child.terminated;
  source.write('last');
  await last;
});

withSupervisor('output for a stream that is broken is thrown away', async (supervisor) => {
  const broken = new Writable({ write: (_bytes, _encoding, callback) => callback(new Error('full')) });
  broken.on('error', () => {});
  const child = supervisor.spawn('head', ['-c', '3000000', '/dev/zero'], { stdio: ['ignore', broken, 'pipe'] });
  assert.deepEqual(await closed(child), [0, null]);
});

test('a stream of a child that was let go holds the event loop until it is let go as well', { timeout: 60_000 }, async () => {
  const text = "const child = spawn('sh', ['-c', 'read -r _; echo a; sleep 1000']); child.unref(); child.stderr.unref();";
  const { stdout } = await script(`${text} child.stdout.once('data', (data) => { console.log(String(data).trim()); child.stdout.unref(); }); child.stdin.write('go\\n');`);
  assert.equal(stdout, 'a\n');
});

test('inherited streams are those of the host', { timeout: 60_000 }, async () => {
  const { stdout, stderr } = await script("spawn('sh', ['-c', 'echo out; echo err >&2'], { stdio: ['ignore', 'inherit', 'inherit'] });");
  assert.deepEqual([stdout, stderr], ['out\n', 'err\n']);
});

test('inherited output comes before the exit', { timeout: 60_000 }, async () => {
  const flood = "const child = spawn('head', ['-c', '3000000', '/dev/zero'], { stdio: ['ignore', 'inherit', 'ignore'] });";
  const { stdout } = await promisify(execFile)(
    process.execPath,
    ['--input-type=module', '-e', `import { spawn } from ${JSON.stringify(index)};\n${flood} child.on('exit', (code) => process.stdout.write('exit ' + code));`],
    { maxBuffer: 1 << 23 },
  );
  assert.deepEqual([stdout.length, stdout.slice(-6)], [3_000_006, 'exit 0']);
  // One that holds the stream in silence does not hold the exit for long.
  const held = "const child = spawn('sh', ['-c', 'sleep 1000 & exit 3'], { stdio: ['ignore', 'inherit', 'ignore'], ladder: { drainIdleMs: 100_000 } });";
  const late = await script(`${held} child.on('exit', (code) => { process.stdout.write('exit ' + code); child.cancel(); });`);
  assert.equal(late.stdout, 'exit 3');
});
