// The streams of a child, and those of the host that it gets.

import assert from 'node:assert/strict';
import { execFile, execFileSync, spawn as nodeSpawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, createWriteStream, mkdtempSync, openSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PassThrough, Readable, Writable } from 'node:stream';
import { mock, test } from 'node:test';
import { promisify } from 'node:util';

import { drawFrom } from '../host_streams.mjs';
import { Supervisor } from '../index.mjs';
import { ChildInput } from '../streams.mjs';
import { closed, first, index, lives, script, withProgram, withSupervisor } from './common.mjs';

const turn = () => new Promise((resolve) => setImmediate(resolve));
const openFiles = () => readdirSync('/proc/self/fd').length;

/** Files are closed in a turn of their own. The time limit of the test is that of the wait. */
const closedAgain = async (count) => {
  while (openFiles() > count) await turn();
};

test('input is finished before the supervisor answers, since the child can have exited then', { timeout: 60_000 }, async () => {
  const told = [];
  const silent = { request: () => new Promise(() => {}), tell: (method) => told.push(method) };
  const input = new ChildInput(silent, 'a');
  const ended = once(input, 'close');
  await new Promise((resolve) => input.end(resolve));
  assert.equal(told[0], 'closeStdin');
  // Once, although the stream is destroyed after that.
  await ended;
  assert.deepEqual(told, ['closeStdin']);
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

test('a source is not read while an input that has it is full', { timeout: 60_000 }, async () => {
  const chunk = Buffer.alloc(65_536);
  let chunks = 0;
  const source = new Readable({
    highWaterMark: chunk.length,
    read() {
      chunks += 1;
      this.push(chunks > 100 ? null : chunk);
    },
  });
  const deaf = () => new Writable({ highWaterMark: chunk.length, write() {} });
  const add = async () => {
    drawFrom({ stream: source, isOwn: false }, deaf());
    for (let turns = 0; turns < 5; turns += 1) await turn();
  };
  await add();
  const read = chunks;
  for (let count = 0; count < 20; count += 1) await add();
  assert.equal(chunks, read);
  // A host that resumes it gets one chunk.
  for (let count = 1; count <= 3; count += 1) {
    source.resume();
    for (let turns = 0; turns < 5; turns += 1) await turn();
    assert.ok(chunks <= read + count, `${chunks} after ${read}`);
  }
});

withSupervisor('a source that is destroyed ends the input', async (supervisor) => {
  const source = new PassThrough();
  const child = supervisor.spawn('cat', { stdio: [source, 'pipe', 'pipe'] });
  const ended = closed(child);
  source.write('before');
  assert.equal(await first(child.stdout), 'before');
  source.destroy();
  assert.deepEqual(await ended, [0, null]);
});

withSupervisor('output for a stream that is broken is thrown away', async (supervisor) => {
  const broken = () => new Writable({ write: (_bytes, _encoding, callback) => callback(new Error('full')) });
  const child = supervisor.spawn('head', ['-c', '100000', '/dev/zero'], { stdio: ['ignore', broken(), 'pipe'] });
  assert.deepEqual(await closed(child), [0, null]);
  const flood = supervisor.spawn('cat', ['/dev/zero'], { stdio: ['ignore', broken(), 'pipe'] });
  assert.deepEqual(await closed(flood), [null, 'SIGPIPE']);
  // Here it is a write whose end never comes.
  const stuck = new Writable({ write: () => stuck.emit('stuck') });
  const blocked = supervisor.spawn('cat', ['/dev/zero'], { stdio: ['ignore', stuck, stuck] });
  const ended = closed(blocked);
  await once(stuck, 'stuck');
  stuck.destroy();
  assert.deepEqual(await ended, [null, 'SIGPIPE']);
});

test('a full disk is no error of the host', { timeout: 60_000 }, async () => {
  for (const full of ["fs.createWriteStream('', { fd: fs.openSync('/dev/full', 'w') })", "fs.openSync('/dev/full', 'w')"]) {
    const { stdout } = await script(`
      import fs from 'node:fs';
      const child = spawn('cat', ['/dev/zero'], { stdio: ['ignore', ${full}, 'ignore'] });
      child.on('close', (code, signal) => console.log(code, signal));`);
    assert.equal(stdout, 'null SIGPIPE\n');
  }
});

test('a file that cannot be read is no error of the host', { timeout: 60_000 }, async () => {
  const { stdout } = await script(`
    import fs from 'node:fs';
    const child = spawn('cat', { stdio: [fs.openSync('/proc/self/mem'), 'ignore', 'ignore'] });
    child.on('close', (code) => console.log(code));`);
  assert.equal(stdout, '0\n');
});

test('a reader of the host that has gone is an error of what the host writes alone', { timeout: 60_000 }, async () => {
  const text = `
    import { spawn } from ${JSON.stringify(index)};
    const child = spawn('cat', ['/dev/zero'], { stdio: ['ignore', 'inherit', 'ignore'] });
    child.on('close', (code, signal) => {
      process.once('uncaughtException', (error) => console.error(signal, error.code));
      process.stdout.write('by the host');
    });`;
  const host = nodeSpawn(process.execPath, ['--input-type=module', '-e', text]);
  await once(host.stdout, 'data');
  host.stdout.destroy();
  let said = '';
  host.stderr.on('data', (bytes) => (said += bytes));
  assert.deepEqual(await closed(host), [0, null]);
  assert.equal(said, 'SIGPIPE EPIPE\n');
});

withSupervisor('a close comes after all that a stream of the host was given', async (supervisor) => {
  // The time that an exit waits does not pass by itself.
  mock.timers.enable({ apis: ['setTimeout'] });
  try {
    const writes = [];
    let written = '';
    const slow = new Writable({
      write(bytes, _, callback) {
        const end = () => {
          written += bytes;
          callback();
        };
        writes.push(end);
        this.emit('writing');
      },
    });
    const child = supervisor.spawn('sh', ['-c', 'echo a; read -r _; echo b'], { stdio: ['pipe', slow, 'ignore'] });
    await once(slow, 'writing');
    child.stdin.end('go\n');
    const ended = closed(child).then(() => written);
    // All has come, and the exit waits.
    await child.terminated;
    const exited = once(child, 'exit');
    mock.timers.tick(500);
    await exited;
    await turn();
    const second = once(slow, 'writing');
    writes[0]();
    await second;
    for (let turns = 0; turns < 5; turns += 1) await turn();
    writes[1]();
    assert.equal(await ended, 'a\nb\n');
  } finally {
    mock.timers.reset();
  }
});

test('a stream of the host that never writes does not hold the event loop', { timeout: 60_000 }, async () => {
  const { stdout } = await script(`
    import { Writable } from 'node:stream';
    const child = spawn('echo', ['a'], { stdio: ['ignore', new Writable({ write() {} }), 'ignore'] });
    child.on('exit', (code) => console.log(code));`);
  assert.equal(stdout, '0\n');
});

test('the end of a stream after the exit lets the event loop go', { timeout: 60_000 }, async () => {
  const said = [
    [{ id: 1, result: {} }],
    [
      { method: 'spawned', params: { child: '1', pid: 1 } },
      { id: 2, result: { pid: 1 } },
      { method: 'output', params: { child: '1', stream: 'stdout', seq: 0, text: 'out' } },
      { method: 'exit', params: { child: '1', exit: { code: 7, signal: null } } },
    ],
    // The third request is sent after the event `exit`.
    [{ id: 3, result: { children: [] } }, { method: 'streamEnded', params: { child: '1', stream: 'stdout' } }],
  ];
  const steps = said.map((all) => `read -r _; printf '%s\\n' ${all.map((one) => `'${JSON.stringify(one)}'`).join(' ')}`);
  await withProgram(`#!/bin/sh\n${steps.join('\n')}\nexec cat >/dev/null`, async (_, program) => {
    const { stdout } = await script(`
      import { Writable } from 'node:stream';
      const supervisor = new Supervisor({ program: ${JSON.stringify(program)} });
      const child = supervisor.spawn('true', { stdio: ['ignore', new Writable({ write() {} }), 'ignore'] });
      child.on('exit', async (code) => { await supervisor.list(); console.log(code); });`);
    assert.equal(stdout, '7\n');
  });
});

withSupervisor('a killed sidecar closes a child whose output is being written', async (supervisor) => {
  const stuck = new Writable({ write: () => stuck.emit('stuck') });
  const child = supervisor.spawn('cat', ['/dev/zero'], { stdio: ['ignore', stuck, 'ignore'] });
  const [failed, ended] = [once(child, 'error'), closed(child)];
  await once(stuck, 'stuck');
  process.kill(supervisor.pid, 'SIGKILL');
  assert.equal((await failed)[0].code, 'ERR_SUPERVISOR_GONE');
  await ended;
});

withSupervisor('files that the client opens are closed again', async (supervisor) => {
  const folder = mkdtempSync(join(tmpdir(), 'pool-supervisor-'));
  const [input, output, directory] = [openSync('/dev/null'), openSync(join(folder, 'output'), 'a'), openSync(folder)];
  try {
    await supervisor.spawn('true').terminated;
    const before = openFiles();
    // Refused because of the last one.
    for (let count = 0; count < 5; count += 1) {
      assert.throws(() => supervisor.spawn('true', { stdio: [input, output, directory] }), { code: 'ERR_SUPERVISOR_UNSUPPORTED' });
    }
    await closedAgain(before);
    // Refused because there is no program, or because of what is no JSON.
    const unusable = new Supervisor({ program: 5 });
    assert.throws(() => unusable.spawn('true', { stdio: [input, output, output] }), { code: 'ERR_INVALID_ARG_TYPE' });
    const wrong = supervisor.spawn('true', { stdio: [input, output, 'ignore'], ladder: { termGraceMs: 1n } });
    assert.equal((await once(wrong, 'error'))[0].name, 'TypeError');
    await closedAgain(before);
    // Without a listener of the child's.
    const child = supervisor.spawn('cat', { stdio: [input, output, output] });
    child.removeAllListeners();
    await child.terminated;
    await closedAgain(before);
  } finally {
    for (const one of [input, output, directory]) closeSync(one);
    rmSync(folder, { recursive: true });
  }
});

withSupervisor('a child whose streams have lost their listeners is closed', async (supervisor) => {
  const child = supervisor.spawn('echo', ['a']);
  child.stdout.removeAllListeners();
  child.stderr.removeAllListeners();
  assert.deepEqual(await closed(child), [0, null]);
});

test('a stream of a child that was let go holds the event loop until it is let go as well', { timeout: 60_000 }, async () => {
  const text = "const child = spawn('sh', ['-c', 'read -r _; echo a; sleep 1000']); child.unref(); child.stderr.unref();";
  const { stdout } = await script(`${text} child.stdout.once('data', (data) => { console.log(String(data).trim()); child.stdout.unref(); }); child.stdin.write('go\\n');`);
  assert.equal(stdout, 'a\n');
});

test('a stream at its end does not hold the event loop, even if nobody reads it', { timeout: 60_000 }, async () => {
  // The child runs on.
  const text = "const child = spawn('sh', ['-c', 'echo a; exec >&- 2>&-; exec sleep 1000'], { stdio: ['ignore', 'pipe', 'pipe'] });";
  const { stdout } = await script(`${text} await child.ready; child.unref(); console.log(child.pid);`);
  const pid = Number(stdout);
  while (lives(pid)) await turn();
  // It has exited, and what it said stays in the buffer.
  const unread = await script("spawn('echo', ['a']).on('exit', (code) => console.log(code)).stdout.on('readable', () => {});");
  assert.equal(unread.stdout, '0\n');
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
