// What the client does beyond child_process.

import assert from 'node:assert/strict';
import { execFile, execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { mock, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

import { Supervisor, SupervisorError } from '../index.mjs';
import { closed, first, index, lives, script, withProgram, withSupervisor } from './common.mjs';

withSupervisor('cancel ends the whole tree and tells how', async (supervisor) => {
  const child = supervisor.spawn('sh', ['-c', "setsid sh -c 'trap \"\" TERM; echo $$; sleep 1000' & wait"], { ladder: { termGraceMs: 50 } });
  const pid = Number(await first(child.stdout));
  assert.ok(lives(pid));
  const termination = await child.cancel({ reason: 'enough' });
  assert.equal(lives(pid), false);
  assert.deepEqual([termination.reason, termination.rung, termination.survivors.count], ['enough', 'kill', 0]);
});

withSupervisor('a child has its limits', async (supervisor) => {
  const { stdout } = await supervisor.run('sh', ['-c', 'ulimit -n'], { limits: { openFiles: 64 } });
  assert.equal(stdout, '64\n');
});

withSupervisor('a cancel of a child that has ended resolves as well', async (supervisor) => {
  const child = supervisor.spawn('true');
  await closed(child);
  assert.equal((await child.cancel()).exitedByItself, true);
});

withSupervisor('a reason may be anything, and a wrong mode is refused', async (supervisor) => {
  const child = supervisor.spawn('cat');
  assert.throws(() => child.cancel({ mode: 'hard' }), { code: 'ERR_INVALID_ARG_VALUE' });
  const termination = await child.cancel({ reason: new Error('x'.repeat(1000)) });
  assert.match(termination.reason, /^Error: x+$/);
});

withSupervisor('SIGKILL hastens an end that has begun', async (supervisor) => {
  const deaf = supervisor.spawn('sh', ['-c', 'trap "" TERM; echo up; while :; do sleep 1; done'], { ladder: { termGraceMs: 3_600_000 } });
  await first(deaf.stdout);
  const ended = deaf.cancel();
  assert.equal(deaf.kill('SIGKILL'), true);
  assert.equal((await ended).rung, 'kill');
});

withSupervisor('a listener that throws keeps nobody else from what is theirs', async () => {
  const script = `
    import { spawn } from ${JSON.stringify(index)};
    const uncaught = [];
    let code;
    // In which order two children end is not promised.
    const report = () => code !== undefined && uncaught.length === 2 && console.log(code, uncaught.sort().join());
    process.on('uncaughtException', (error) => {
      uncaught.push(error.message.split(' ').at(-1));
      report();
    });
    const one = spawn('no-such-program');
    const two = spawn('sh', ['-c', 'exit 3']);
    two.on('spawn', () => { throw new Error('thrown'); });
    two.on('close', (it) => { code = it; report(); });`;
  const { stdout } = await promisify(execFile)(process.execPath, ['--input-type=module', '-e', script]);
  assert.equal(stdout, '3 ENOENT,thrown\n');
});

test('a listener that throws keeps no later event from the child', { timeout: 60_000 }, async () => {
  // The process id is told, then all that follows at once. Nothing comes later that could bring the rest along.
  const said = [
    { id: 1, result: {} },
    { method: 'spawned', params: { child: '1', pid: 1 } },
    { method: 'output', params: { child: '1', stream: 'stdout', seq: 0, text: 'out' } },
    { method: 'exit', params: { child: '1', exit: { code: 7, signal: null } } },
    ...['stdout', 'stderr'].map((stream) => ({ method: 'streamEnded', params: { child: '1', stream } })),
  ];
  const text = `#!/bin/sh\nread -r a\nread -r b\nprintf '%s\\n' ${said.map((one) => `'${JSON.stringify(one)}'`).join(' ')}\nexec cat >/dev/null`;
  await withProgram(text, async (_, program) => {
    const { stdout } = await script(`
      const uncaught = [];
      process.on('uncaughtException', (error) => uncaught.push(error.message));
      const child = new Supervisor({ program: ${JSON.stringify(program)} }).spawn('true');
      child.stdout.on('data', () => { throw new Error('data'); });
      child.on('exit', () => { throw new Error('exit'); });
      child.on('close', (code) => setImmediate(() => { console.log(code, uncaught.join()); process.exit(); }));`);
    assert.equal(stdout, '7 data,exit\n');
  });
});

test('an exit whose listener throws is followed by the close', { timeout: 60_000 }, async () => {
  const { stdout } = await script(`
    process.on('uncaughtException', (error) => console.log(error.message));
    const child = spawn('true', { stdio: 'ignore' });
    child.on('exit', () => { throw new Error('exit'); });
    child.on('close', (code) => setImmediate(() => console.log(code)));`);
  assert.equal(stdout, 'exit\n0\n');
});

test('output goes on although its listener throws each time', { timeout: 60_000 }, async () => {
  const { stdout } = await script(`
    const seen = { thrown: 0, bytes: 0 };
    process.on('uncaughtException', () => (seen.thrown += 1));
    const child = spawn('head', ['-c', '3000000', '/dev/zero']);
    child.stdout.on('data', (chunk) => { seen.bytes += chunk.length; throw new Error('data'); });
    child.on('close', () => setImmediate(() => console.log(seen.bytes, seen.thrown > 1)));`);
  assert.equal(stdout, '3000000 true\n');
});

test('a callback of a write that throws is an uncaught exception', { timeout: 60_000 }, async () => {
  const { stdout } = await script(`
    for (const name of ['uncaughtException', 'unhandledRejection']) process.on(name, (error) => console.log(name, error.message));
    const child = spawn('cat');
    child.stdin.write('a', () => { child.stdin.end(); throw new Error('thrown'); });`);
  assert.equal(stdout, 'uncaughtException thrown\n');
});

test('a signal that is refused is an error of the child, and no rejection', { timeout: 60_000 }, async () => {
  const { stdout } = await script(`
    for (const name of ['uncaughtException', 'unhandledRejection']) process.on(name, (error) => { console.log(name, error.code); child.stdin.end(); });
    const child = spawn('cat');
    child.once('spawn', () => child.kill('SIGBUS'));`);
  assert.equal(stdout, 'uncaughtException ERR_SUPERVISOR_REFUSED\n');
  const said = [
    { id: 1, result: {} },
    { method: 'spawned', params: { child: '1', pid: 1 } },
    { id: 2, result: { pid: 1 } },
    { id: 3, error: { code: -32000, message: 'refused', data: { kind: 'signalRefused', errno: 'EPERM', isTransient: false } } },
  ].map((one) => `'${JSON.stringify(one)}'`);
  const text = `#!/bin/sh\nread -r a\nread -r b\nprintf '%s\\n' ${said.slice(0, 3).join(' ')}\nread -r c\nprintf '%s\\n' ${said[3]}\nexec cat >/dev/null`;
  await withProgram(text, async (supervisor) => {
    const child = supervisor.spawn('true', { stdio: 'ignore' });
    await child.ready;
    assert.equal(child.kill(), true);
    const [{ code, errno, syscall, message }] = await once(child, 'error');
    assert.deepEqual([code, errno, syscall, message], ['EPERM', -1, 'kill', 'kill EPERM']);
    // Its end is never told.
    child.unref();
  });
});

withSupervisor('arguments that are too long are an error of the child', async (supervisor) => {
  const child = supervisor.spawn('true', ['x'.repeat(5 << 20)]);
  const failed = new Promise((resolve) => child.once('error', resolve));
  await closed(child);
  assert.equal((await failed).code, 'E2BIG');
});

withSupervisor('after a close there is another sidecar at once', async (supervisor) => {
  await supervisor.spawn('cat').ready;
  const ended = supervisor.close({ graceMs: 0 });
  const { code } = await supervisor.run('true');
  assert.equal(code, 0);
  assert.equal((await ended).ended, 1);
});

withSupervisor('run collects up to its cap', async (supervisor) => {
  const whole = await supervisor.run('sh', ['-c', 'cat; echo err >&2; exit 3'], { input: 'in' });
  assert.deepEqual([whole.code, whole.stdout, whole.stderr, whole.isTruncated], [3, 'in', 'err\n', false]);
  const cut = await supervisor.run('head', ['-c', '3000000', '/dev/zero'], { maxBytes: 1000, encoding: 'buffer' });
  assert.deepEqual([cut.code, cut.stdout.length, cut.isTruncated, cut.termination.stdout.bytes], [0, 1000, true, 3_000_000]);
  await assert.rejects(supervisor.run('no-such-program'), { code: 'ENOENT' });
  await assert.rejects(supervisor.run('sleep', ['1000'], { signal: AbortSignal.timeout(20) }), { name: 'AbortError' });
});

withSupervisor('run says so if output was not read to its end', async (supervisor) => {
  const { stdout, isTruncated, termination } = await supervisor.run('sh', ['-c', 'sleep 1000 & echo $!'], { scope: 'root', ladder: { drainIdleMs: 20 } });
  process.kill(Number(stdout), 'SIGKILL');
  assert.deepEqual([isTruncated, termination.stdout.drain, termination.stdout.cutBytes], [true, 'idle', 0]);
});

withSupervisor('a timeout and an abort count for what is waited for after the exit', async (supervisor) => {
  const late = ['sh', ['-c', '(echo up; exec sleep 1000) & exit 0']];
  const timed = await supervisor.run(...late, { afterExit: 'wait', timeout: 200 });
  assert.deepEqual([timed.code, timed.termination.reason], [0, 'timeout']);
  const aborter = new AbortController();
  const child = supervisor.spawn(...late, { afterExit: 'wait', signal: aborter.signal });
  const failed = new Promise((resolve) => child.once('error', resolve));
  const exited = new Promise((resolve) => child.once('exit', resolve));
  child.stdout.resume();
  await exited;
  aborter.abort();
  assert.equal((await failed).name, 'AbortError');
  assert.equal((await child.terminated).reason, 'aborted');
});

test('a sidecar that refuses its first request is an error of the child, and is not left behind', { timeout: 60_000 }, async () => {
  const supervisor = new Supervisor({ hostGraceMs: 'soon' });
  const child = supervisor.spawn('true');
  const failed = new Promise((resolve) => child.once('error', resolve));
  const { pid } = supervisor;
  const ended = closed(child);
  const error = await failed;
  assert.deepEqual([error.name, error.code, error.kind], ['SupervisorError', 'ERR_SUPERVISOR_REFUSED', 'invalidParams']);
  assert.match(error.message, /hostGraceMs|soon/);
  await ended;
  while (lives(pid)) await new Promise((resolve) => setTimeout(resolve, 20));
});

withSupervisor('a consumer that does not read stops the child, and loses nothing', async (supervisor) => {
  const child = supervisor.spawn('head', ['-c', '5000000', '/dev/zero']);
  await new Promise((resolve) => child.stdout.once('readable', resolve));
  const list = await supervisor.list();
  assert.equal(list.children[0].state, 'running');
  let bytes = 0;
  for await (const chunk of child.stdout) bytes += chunk.length;
  assert.equal(bytes, 5_000_000);
});

withSupervisor('a killed sidecar closes every child with a typed error, and is replaced', async (supervisor) => {
  const children = [1, 2, 3].map(() => supervisor.spawn('sleep', ['1000']));
  const pids = await Promise.all(children.map((child) => child.ready));
  const errors = children.map((child) => new Promise((resolve) => child.once('error', resolve)));
  const closes = children.map(closed);
  const before = supervisor.pid;
  process.kill(before, 'SIGKILL');
  for (const error of await Promise.all(errors)) {
    assert.ok(error instanceof SupervisorError);
    assert.equal(error.code, 'ERR_SUPERVISOR_GONE');
  }
  await Promise.all(closes);
  await assert.rejects(children[0].terminated, { code: 'ERR_SUPERVISOR_GONE' });
  assert.equal((await supervisor.run('echo', ['again'])).stdout, 'again\n');
  assert.notEqual(supervisor.pid, before);
  // The guardian ends what the sidecar has left: half a second of grace, then by force.
  while (pids.some(lives)) await new Promise((resolve) => setTimeout(resolve, 20));
});

test('another program than the supervisor is an error of the child', { timeout: 60_000 }, async () => {
  for (const [text, code, message] of [
    ['#!/bin/sh\necho hello\nexec sleep 1000', 'ERR_SUPERVISOR_REFUSED', /no message: hello/],
    ['#!/bin/sh\nexec cat', 'ERR_SUPERVISOR_REFUSED', /no message: .*initialize/],
    ['#!/bin/sh\nexit 3', 'ERR_SUPERVISOR_GONE', /cannot be started: it ended before it answered \(exit code 3\)/],
  ]) {
    await withProgram(text, async (supervisor) => {
      const child = supervisor.spawn('true');
      const ended = closed(child);
      const error = await new Promise((resolve) => child.once('error', resolve));
      assert.equal(error.code, code);
      assert.match(error.message, message);
      await ended;
    });
  }
});

test('what a sidecar has said before its exit still counts', { timeout: 60_000 }, async () => {
  // It exits at once, and what it has said comes later.
  const said = [
    { id: 1, result: {} },
    { method: 'spawned', params: { child: '1', pid: 1 } },
    { method: 'exit', params: { child: '1', exit: { code: 7, signal: null } } },
    ...['stdout', 'stderr'].map((stream) => ({ method: 'streamEnded', params: { child: '1', stream } })),
  ];
  const lines = said.map((one) => `echo '${JSON.stringify(one)}'`).join('; ');
  mock.timers.enable({ apis: ['setTimeout'] });
  try {
    await withProgram(`#!/bin/sh\nexec 3<&0\n(read -r a <&3; read -r b <&3; ${lines}) &\nexit 0\n`, async (supervisor) => {
      const child = supervisor.spawn('true');
      assert.deepEqual(await closed(child), [7, null]);
    });
  } finally {
    mock.timers.reset();
  }
});

test('what comes at once is told in turns of the event loop', { timeout: 60_000 }, async () => {
  const said = [
    { id: 1, result: {} },
    { method: 'spawned', params: { child: '1', pid: 1 } },
    { id: 2, result: { pid: 1 } },
    { method: 'output', params: { child: '1', stream: 'stdout', seq: 0, text: 'out' } },
    { method: 'exit', params: { child: '1', exit: { code: 7, signal: null } } },
    ...['stdout', 'stderr'].map((stream) => ({ method: 'streamEnded', params: { child: '1', stream } })),
  ];
  const text = `#!/bin/sh\nread -r a\nread -r b\nprintf '%s\\n' ${said.map((one) => `'${JSON.stringify(one)}'`).join(' ')}\nexec cat >/dev/null`;
  await withProgram(text, async (supervisor) => {
    const child = supervisor.spawn('true');
    assert.equal(await child.ready, 1);
    const output = first(child.stdout);
    assert.deepEqual(await once(child, 'exit'), [7, null]);
    assert.deepEqual(await once(child, 'close'), [7, null]);
    assert.equal(await output, 'out');
  });
});

test('an unusable program is an error of the child', { timeout: 60_000 }, async () => {
  const supervisor = new Supervisor({ program: '/no/such/program' });
  const child = supervisor.spawn('true');
  const error = await new Promise((resolve) => child.once('error', resolve));
  assert.equal(error.code, 'ERR_SUPERVISOR_GONE');
  assert.match(error.message, /cannot be started: spawn \/no\/such\/program ENOENT.*POOL_SUPERVISOR/);
});

withSupervisor('run starts nothing if its options are wrong', async (supervisor) => {
  for (const [options, code] of [
    [{ input: 5 }, 'ERR_INVALID_ARG_TYPE'],
    [{ maxBytes: -1 }, 'ERR_OUT_OF_RANGE'],
    [{ encoding: 'none' }, 'ERR_INVALID_ARG_VALUE'],
  ]) {
    await assert.rejects(supervisor.run('cat', options), { code });
  }
  assert.deepEqual((await supervisor.list()).children, []);
});

test('an idle sidecar does not hold the event loop, and a child does', { timeout: 60_000 }, async () => {
  const idle = await script("const { stdout } = await run('echo', ['a']); console.log(stdout.trim());");
  assert.equal(idle.stdout, 'a\n');
  const held = await script("spawn('sh', ['-c', 'sleep 0.1; echo b']).stdout.on('data', (d) => console.log(String(d).trim()));");
  assert.equal(held.stdout, 'b\n');
  const released = await script("const child = spawn('sleep', ['1000'], { stdio: 'ignore' }); await child.ready; child.unref(); console.log(child.pid);");
  const pid = Number(released.stdout);
  while (lives(pid)) await new Promise((resolve) => setTimeout(resolve, 20));
});

test('without a free descriptor each child has the error that Node gives it', { timeout: 60_000 }, async () => {
  const text = `
    import { spawn as nodeSpawn } from 'node:child_process';
    import { closeSync, openSync } from 'node:fs';
    import { spawn } from ${JSON.stringify(index)};
    const held = [];
    try {
      for (;;) held.push(openSync('/dev/null'));
    } catch {}
    const told = (child, place) => new Promise((resolve) => {
      let failure;
      child.on('error', ({ code, errno, syscall, path, spawnargs }) => { failure = { code, errno, syscall, path, spawnargs }; });
      // Node itself does not emit the event close then.
      child.on(place === 0 ? 'error' : 'close', () => resolve(failure));
    });
    const children = [nodeSpawn('true', ['x']), spawn('true', ['x']), spawn('true', ['x'])];
    children.slice(1).forEach((child) => child.stdin.end('input'));
    const failures = await Promise.all(children.map(told));
    held.forEach((one) => closeSync(one));
    const again = spawn('true');
    again.on('close', (code) => console.log(JSON.stringify({ failures, code })));`;
  // What is open above the limit harms nobody. Only bash can open that.
  const limit = 'exec 251</dev/null; ulimit -n 64; exec "$@"';
  const limited = ['-c', limit, 'bash', process.execPath, '--input-type=module', '-e', text];
  const { stdout } = await promisify(execFile)('bash', limited, { timeout: 50_000 });
  const { failures, code } = JSON.parse(stdout);
  assert.equal(failures[0].code, 'EMFILE');
  assert.deepEqual(failures.slice(1), [failures[0], failures[0]]);
  assert.equal(code, 0);
});

withSupervisor('a child that has exited does not run while its event waits for inherited output', async (supervisor) => {
  // The time that the event waits does not pass by itself.
  mock.timers.enable({ apis: ['setTimeout'] });
  try {
    const options = { stdio: ['ignore', 'inherit', 'ignore'], ladder: { drainIdleMs: 100_000, drainTimeoutMs: 100_000 } };
    const child = supervisor.spawn('sh', ['-c', 'sleep 1000 & exit 3'], options);
    let told;
    child.on('exit', (code) => (told = code));
    while (child.exitCode === null) await new Promise((resolve) => setImmediate(resolve));
    assert.deepEqual([told, child.exitCode, child.kill(), child.killed], [undefined, 3, false, false]);
    mock.timers.tick(500);
    assert.equal(told, 3);
    await child.cancel();
  } finally {
    mock.timers.reset();
  }
});

withSupervisor('what it cannot do is refused with a reason', (supervisor) => {
  for (const options of [{ detached: true }, { uid: 1 }, { gid: 1 }, { stdio: ['pipe', 'pipe', 'pipe', 'ipc'] }]) {
    assert.throws(() => supervisor.spawn('true', options), { code: 'ERR_SUPERVISOR_UNSUPPORTED' });
  }
});

test('npm packs it with its program', { timeout: 120_000, skip: hasNpm() ? false : 'there is no npm' }, async () => {
  const folder = mkdtempSync(join(tmpdir(), 'pool-supervisor-'));
  try {
    const pack = fileURLToPath(new URL('../pack.mjs', import.meta.url));
    const file = execFileSync(process.execPath, [pack, process.env.POOL_SUPERVISOR, folder], { encoding: 'utf8' }).trim();
    execFileSync('tar', ['-xzf', file, '-C', folder]);
    mkdirSync(join(folder, 'node_modules'));
    const place = join(folder, 'node_modules/pool-supervisor');
    renameSync(join(folder, 'package'), place);
    // An empty variable names no program.
    const options = { env: { ...process.env, POOL_SUPERVISOR: '' }, cwd: folder, encoding: 'utf8' };
    const node = (type, text) => execFileSync(process.execPath, [`--input-type=${type}`, '-e', text], options);
    const use = "console.log((await run('echo', ['packed'])).stdout.trim(), spawn === all.spawn);";
    assert.equal(node('module', `import all, { run, spawn } from 'pool-supervisor'; ${use}`), 'packed true\n');
    const wait = "import('pool-supervisor').then(async ({ run, spawn, default: all }) => {";
    assert.equal(node('commonjs', `${wait} ${use} }); require('pool-supervisor/package.json');`), 'packed true\n');
    // In an archive of Electron's, the program is beside it.
    for (const name of ['app.asar', 'app.asar.unpacked/package']) mkdirSync(join(folder, name), { recursive: true });
    renameSync(place, join(folder, 'app.asar/package'));
    renameSync(join(folder, 'app.asar/package/bin'), join(folder, 'app.asar.unpacked/package/bin'));
    assert.equal(node('module', `import all, { run, spawn } from './app.asar/package/index.mjs'; ${use}`), 'packed true\n');
  } finally {
    rmSync(folder, { recursive: true });
  }
});

function hasNpm() {
  try {
    execFileSync('npm', ['--version'], { stdio: 'ignore' });
    return true;
  } catch {
    return false;
  }
}
