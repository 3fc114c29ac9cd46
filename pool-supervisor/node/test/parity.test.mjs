// The same cases by child_process and by this client, in one run. Each difference is named with its reason.

import assert from 'node:assert/strict';
import { AsyncLocalStorage } from 'node:async_hooks';
import childProcess from 'node:child_process';
import { once } from 'node:events';
import { closeSync, createWriteStream, mkdtempSync, openSync, readFileSync, rmdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { after, test } from 'node:test';
import { pathToFileURL } from 'node:url';

import { Supervisor } from '../index.mjs';

const supervisor = new Supervisor();
const folder = mkdtempSync(join(tmpdir(), 'pool-supervisor-'));
after(() => supervisor.close());
after(() => rmSync(folder, { recursive: true }));

const ways = {
  child_process: (...args) => childProcess.spawn(...args),
  supervisor: (...args) => supervisor.spawn(...args),
};

/** Plays a child to its close, and says what was seen. */
const play = (child, act = () => {}) =>
  new Promise((resolve) => {
    const seen = { events: [], stdout: '', stderr: '' };
    const note = (name) => (...args) => seen.events.push([name, ...args.map(plain)]);
    for (const name of ['spawn', 'exit', 'error']) child.on(name, note(name));
    for (const name of ['stdout', 'stderr']) {
      child[name]?.setEncoding('utf8');
      child[name]?.on('data', (text) => (seen[name] += text));
    }
    child.stdin?.on('error', (error) => (seen.stdin = error.code));
    child.on('close', (code, signal) => {
      note('close')(code, signal);
      seen.exitCode = child.exitCode;
      seen.signalCode = child.signalCode;
      seen.killed = child.killed;
      resolve(seen);
    });
    const result = act(child, seen);
    if (typeof result !== 'object') seen.result = result;
  });

const plain = (value) =>
  value instanceof Error
    ? { name: value.name, code: value.code, errno: value.errno, syscall: value.syscall, path: value.path, spawnargs: value.spawnargs }
    : value;

const sh = (script, options, act) => (spawn) => play(spawn('sh', ['-c', script], options), act);
const thrown = (...args) => (spawn) => {
  try {
    spawn(...args).on('error', () => {});
    return 'nothing';
  } catch (error) {
    return { name: error.name, code: error.code };
  }
};
const onFirst = (act) => (child) => child.stdout.once('data', () => act(child));
const ended = (stream) => new Promise((resolve) => stream.once('close', resolve));

/** The lines of a file after a child whose stdout and stderr it was. */
const logged = (make) => async (spawn) => {
  const path = join(folder, 'log');
  writeFileSync(path, '');
  const { stdio, after } = make(path);
  const child = spawn('sh', ['-c', 'echo out; echo err >&2'], { stdio });
  after();
  await play(child);
  // Sorted: two pipes have no order.
  return readFileSync(path, 'utf8').split('\n').sort();
};
const byDescriptor = (path) => {
  const fd = openSync(path, 'a');
  return { stdio: ['ignore', fd, fd], after: () => closeSync(fd) };
};
/** In whose context the listeners of two children run. */
const contexts = async (spawn) => {
  const storage = new AsyncLocalStorage();
  const one = (id) => storage.run(id, () => new Promise((resolve) => {
    const child = spawn('echo');
    const seen = new Map();
    const note = (name) => () => seen.set(name, storage.getStore());
    child.on('spawn', note('spawn')).on('exit', note('exit'));
    child.stdout.on('data', note('data')).on('end', note('end'));
    child.on('close', () => { note('close')(); resolve([...seen].sort()); });
  }));
  return [await one('first'), await one('second')];
};
const warnings = async (act) => {
  const seen = [];
  const note = (warning) => seen.push(warning.name);
  process.on('warning', note);
  await act();
  await new Promise(setImmediate);
  process.off('warning', note);
  return seen;
};

/** A name, what is done, and the reason if it is meant to differ. */
const cases = [
  ['exit code 0', sh('exit 0')],
  ['exit code 3', sh('exit 3')],
  ['exit code 255', sh('exit 255')],
  ['ends itself by SIGTERM', sh('kill -TERM $$')],
  ['ends itself by SIGKILL', sh('kill -KILL $$')],
  ['ends itself by SIGSEGV', sh('kill -SEGV $$')],
  ['stdout', sh('echo out')],
  ['stderr', sh('echo err >&2')],
  ['both', sh('echo out; echo err >&2; exit 1')],
  ['output without a line end', sh('printf abc')],
  ['characters of several bytes', sh("printf 'aé€😀'")],
  ['a character cut in two', sh("printf 'a\\303'; sleep 0.05; printf '\\251'")],
  ['output that is no text', sh("printf '\\377\\376\\000'")],
  ['1 MB of output', sh('head -c 1000000 /dev/zero')],
  ['output at once before the exit', sh('head -c 200000 /dev/zero; exit 7')],
  ['stdin', sh('cat', {}, (child) => child.stdin.end('hello'))],
  ['stdin in pieces', sh('cat', {}, (child) => { for (const text of ['a', 'b', 'c']) child.stdin.write(text); child.stdin.end(); })],
  ['1 MB of stdin', sh('wc -c', {}, (child) => child.stdin.end('x'.repeat(1e6)))],
  ['bytes as stdin', sh('od -An -tx1', {}, (child) => child.stdin.end(Buffer.from([0, 255, 10])))],
  ['stdin that nobody reads', sh('sleep 0.2; exit 0', {}, (child) => child.stdin.end('hello'))],
  ['stdin after the child closed it', sh('exec <&-; echo; sleep 0.3', {}, onFirst((child) => child.stdin.write('x')))],
  ['backpressure of stdin', sh('sleep 0.1; cat >/dev/null', {}, (child) => { const result = child.stdin.write('x'.repeat(1e6)); child.stdin.end(); return result; })],
  ['stdin ignored', sh('cat; echo $?', { stdio: ['ignore', 'pipe', 'pipe'] })],
  ['stdout ignored', sh('echo out; echo err >&2', { stdio: ['pipe', 'ignore', 'pipe'] })],
  ['all ignored', sh('echo out', { stdio: 'ignore' })],
  ['null streams of ignored ones', (spawn) => { const child = spawn('true', { stdio: 'ignore' }); return play(child).then(() => [child.stdin, child.stdout, child.stderr, child.stdio.length]); }],
  ['stdio is the streams', (spawn) => { const child = spawn('true'); return play(child).then(() => [child.stdio[0] === child.stdin, child.stdio[1] === child.stdout, child.stdio.length]); }],
  ['inherited output has no stream', (spawn) => { const child = spawn('true', { stdio: 'inherit' }); return play(child).then(() => [child.stdin, child.stdout]); }],
  ['a descriptor that is closed at once', logged(byDescriptor)],
  ['a stream as stdout and stderr', logged((path) => { const stream = createWriteStream('', { fd: openSync(path, 'a') }); return { stdio: ['ignore', stream, stream], after: () => {} }; })],
  ['a descriptor as stdin', async (spawn) => { const path = join(folder, 'input'); writeFileSync(path, 'input'); const fd = openSync(path); const child = spawn('cat', { stdio: [fd, 'pipe', 'pipe'] }); closeSync(fd); return play(child); }],
  ['stdout of another child as stdin', (spawn) => play(spawn('cat', { stdio: [spawn('echo', ['from']).stdout, 'pipe', 'pipe'] }))],
  ['stderr of the host for both', (spawn) => { const child = spawn('true', { stdio: ['ignore', 2, process.stderr] }); return play(child).then((seen) => [seen, child.stdio]); }],
  ['many children that inherit', (spawn) => warnings(() => Promise.all(Array.from({ length: 20 }, () => play(spawn('true', { stdio: 'inherit' })))))],
  ['-1 as stdio', (spawn) => play(spawn('echo', { stdio: [-1, -1, -1] }))],
  ['the class', async (spawn) => { const child = spawn('true'); await play(child); return [child instanceof childProcess.ChildProcess, child.constructor.name, 'send' in child, 'disconnect' in child]; }],
  ['spawnargs that are no strings', (spawn) => { const child = spawn('echo', [1, null]); return play(child).then((seen) => [seen, child.spawnargs]); }],
  ['spawnfile and spawnargs', (spawn) => { const child = spawn('true', ['a', 'b']); return play(child).then(() => [child.spawnfile, child.spawnargs]); }],
  ['spawnargs of a shell', (spawn) => { const child = spawn('echo a', ['b'], { shell: true }); return play(child).then((seen) => [child.spawnfile, child.spawnargs, seen.stdout]); }],
  ['a shell', (spawn) => play(spawn('echo $0; exit 4', { shell: true }))],
  ['another shell', (spawn) => play(spawn('echo $0', { shell: '/bin/bash' }))],
  ['argv0', (spawn) => play(spawn('sh', ['-c', 'echo $0; cat /proc/$$/cmdline'], { argv0: 'other' }))],
  ['the name of the program', (spawn) => play(spawn('sh', ['-c', 'echo $0; cat /proc/$$/cmdline']))],
  ['arguments with spaces and quotes', (spawn) => play(spawn('printf', ['%s|', 'a b', '"', "'", '', '$HOME', '\\']))],
  ['numbers as arguments', (spawn) => play(spawn('echo', [1, true]))],
  ['cwd', (spawn) => play(spawn('pwd', { cwd: '/usr' }))],
  ['cwd as a URL', (spawn) => play(spawn('pwd', { cwd: pathToFileURL('/usr') }))],
  ['a relative cwd', (spawn) => play(spawn('pwd', { cwd: relative(process.cwd(), '/usr') }))],
  ['an empty cwd', (spawn) => play(spawn('pwd', { cwd: '' }))],
  ['a folder of the host that was removed', async (spawn) => { const [before, gone] = [process.cwd(), mkdtempSync(join(folder, 'gone'))]; process.chdir(gone); rmdirSync(gone); try { return await play(spawn('sh', ['-c', 'exit 3'])); } finally { process.chdir(before); } }],
  ['cwd as bytes', (spawn) => play(spawn('pwd', { cwd: Buffer.from('/usr') })), 'child_process takes bytes and ignores them'],
  ['a program relative to cwd', (spawn) => play(spawn('./bin/env', ['true'], { cwd: '/usr' }))],
  ['env', (spawn) => play(spawn('sh', ['-c', 'echo $A-$B'], { env: { A: 'x', B: 1, PATH: process.env.PATH } }))],
  ['env without a value', (spawn) => play(spawn('sh', ['-c', 'echo ${A-unset}'], { env: { A: undefined, PATH: process.env.PATH } }))],
  ['all of env', (spawn) => play(spawn('/usr/bin/env', { env: { A: 'x' } })), 'the mark by which descendants are found is a variable, POOL_STDIO_COOKIE or the like'],
  ['PATH of env', (spawn) => play(spawn('true', { env: { PATH: '/no/such' } }))],
  ['no such program', (spawn) => play(spawn('no-such-program', ['a']))],
  ['no such path', (spawn) => play(spawn('/no/such/program'))],
  ['a file that is no program', (spawn) => play(spawn('/etc/passwd'))],
  ['a directory as program', (spawn) => play(spawn('/'))],
  ['no such cwd', (spawn) => play(spawn('true', { cwd: '/no/such' }))],
  ['a cwd that is a file', (spawn) => thrownOrSeen(() => spawn('true', { cwd: '/etc/passwd' })), 'child_process throws ENOTDIR; here the start is not over when spawn returns, so it is an event'],
  ['arguments that are too long', (spawn) => thrownOrSeen(() => spawn('true', ['x'.repeat(200_000)])), 'child_process throws E2BIG; here the start is not over when spawn returns, so it is an event'],
  ['kill', sh('echo; exec sleep 1000', {}, onFirst((child) => child.kill()))],
  ['kill by SIGKILL', sh('echo; exec sleep 1000', {}, onFirst((child) => child.kill('SIGKILL')))],
  ['kill by number', sh('echo; exec sleep 1000', {}, onFirst((child) => child.kill(2)))],
  ['kill with a handler', sh("trap 'echo bye; exit 5' TERM; echo; while :; do sleep 0.01; done", {}, onFirst((child) => child.kill()))],
  ['kill returns true, then false', (spawn) => { const child = spawn('sleep', ['1000']); const results = []; child.once('spawn', () => results.push(child.kill())); return play(child).then(() => [...results, child.kill(), child.killed]); }],
  ['kill before the start', (spawn) => { const child = spawn('sleep', ['1000']); const result = child.kill(); return play(child).then((seen) => [result, seen]); }],
  ['kill by 0', (spawn) => { const child = spawn('cat'); const result = child.kill(0); child.stdin.end(); return play(child).then(() => result); }],
  ['kill by what is no signal', async (spawn) => { const child = spawn('cat'); const codes = [null, true, {}, -1, 1.5, ''].map((signal) => { try { return child.kill(signal); } catch (error) { return [error.name, error.code]; } }); child.stdin.end(); return [codes, await play(child)]; }],
  ['kill by another name of a signal', sh('echo; exec sleep 1000', {}, onFirst((child) => child.kill('sigiot')))],
  ['kill by an unknown signal', (spawn) => { const child = spawn('true'); let code; try { child.kill('SIGNONE'); } catch (error) { code = error.code; } return play(child).then(() => code); }],
  ['timeout', sh('exec sleep 1000', { timeout: 30 })],
  ['timeout with another signal', sh('exec sleep 1000', { timeout: 30, killSignal: 'SIGINT' })],
  ['timeout that is not reached', sh('exit 0', { timeout: 60_000 })],
  ['abort', (spawn) => { const aborter = new AbortController(); return play(spawn('sleep', ['1000'], { signal: aborter.signal }), (child) => child.once('spawn', () => aborter.abort())); }],
  ['abort before the start', (spawn) => play(spawn('sleep', ['1000'], { signal: AbortSignal.abort() }))],
  ['abort after the end', async (spawn) => { const aborter = new AbortController(); const seen = await play(spawn('true', { signal: aborter.signal })); aborter.abort(); return seen; }],
  ['abort of a child that ignores SIGTERM', (spawn) => { const aborter = new AbortController(); const child = spawn('sh', ['-c', "trap '' TERM; echo; while :; do sleep 0.01; done"], { signal: aborter.signal, ladder: { termGraceMs: 50 } }); setTimeout(() => child.kill('SIGKILL'), 3000).unref(); return play(child, onFirst(() => aborter.abort())).then((seen) => [seen.signalCode, performance.now() - 0 > 0]); }],
  ['pid when spawn returns', (spawn) => { const child = spawn('true'); const type = typeof child.pid; return play(child).then(() => type); }, 'the start is asked of another process: `await child.ready`'],
  ['pid after the event spawn', (spawn) => { const child = spawn('true'); let type; child.once('spawn', () => (type = typeof child.pid)); return play(child).then(() => type); }],
  ['pid of what was not started', (spawn) => { const child = spawn('no-such-program'); return play(child).then(() => typeof child.pid); }],
  ['connected', (spawn) => { const child = spawn('true'); return play(child).then(() => child.connected); }],
  ['exitCode while it runs', (spawn) => { const child = spawn('cat'); const seen = [child.exitCode, child.signalCode, child.killed]; child.stdin.end(); return play(child).then(() => seen); }],
  ['end of stdout before close', async (spawn) => { const child = spawn('echo'); const order = []; child.stdout.on('end', () => order.push('end')).resume(); child.on('close', () => order.push('close')); await play(child); return order; }],
  ...[
    ['that nobody reads', () => {}],
    ['that is paused', (stdout) => stdout.pause()],
    ['with a listener that does not read', (stdout) => stdout.on('readable', () => {})],
  ].map(([how, act]) => [`the end of an empty stream ${how}`, async (spawn) => {
    const child = spawn('sh', ['-c', 'exec >&-; read -r _']);
    act(child.stdout);
    await once(child.stdout, 'end');
    child.stdin.end('go\n');
    return once(child, 'exit');
  }]),
  ['close waits for a stream that is read late', async (spawn) => { const child = spawn('echo', ['late']); let text = ''; const close = new Promise((resolve) => child.once('close', resolve)); child.once('exit', () => child.stdout.on('data', (chunk) => (text += chunk))); await close; return text; }],
  ['a stream that nobody reads does not hold up close', (spawn) => { const child = spawn('echo', ['lost']); return new Promise((resolve) => child.once('close', (...args) => resolve(args))); }],
  ['input for what does not start', async (spawn) => { const child = spawn('no-such-program'); const seen = []; child.stdin.on('error', () => seen.push('error')); child.stdin.write('x', (error) => seen.push(error.code)); return [await play(child), seen]; }],
  ['output that is read when all input was written', async (spawn) => { const child = spawn('tr', ['a-z', 'A-Z']); await new Promise((resolve) => child.stdin.end('abc', resolve)); let text = ''; for await (const chunk of child.stdout) text += chunk; return text; }],
  ['a write of 60 kB', async (spawn) => { const child = spawn('cat'); await once(child, 'spawn'); const result = child.stdin.write('x'.repeat(60_000)); child.stdin.end(); return [result, await play(child)]; }],
  ['bytes that were read and written', async (spawn) => { const child = spawn('cat'); child.stdin.end('abc'); await play(child); return [child.stdin.bytesWritten, child.stdout.bytesRead]; }],
  ['the context of listeners', contexts],
  ['for await', async (spawn) => { const child = spawn('printf', ['abc']); let text = ''; for await (const chunk of child.stdout) text += chunk; return text; }],
  ['a destroyed stdout', async (spawn) => { const child = spawn('sh', ['-c', 'read -r _; echo a; echo b']); child.stdout.destroy(); await ended(child.stdout); child.stdin.on('error', () => {}).end('go\n'); return new Promise((resolve) => child.once('close', (...args) => resolve(args))); }, 'the sidecar reads on and throws the output away, so the child gets no SIGPIPE'],
  ['a flood into a destroyed stdout', async (spawn) => { const child = spawn('yes'); for await (const _ of child.stdout) break; const [code, signal] = await new Promise((resolve) => child.once('close', (...args) => resolve(args))); return code !== 0 || signal === 'SIGPIPE'; }],
  ['listeners that come after the event spawn', async (spawn) => { const child = spawn('sh', ['-c', 'echo out; exit 3']); let text = ''; await once(child, 'spawn'); await null; await null; child.stdout.on('data', (chunk) => (text += chunk)); const ends = await Promise.all([once(child, 'exit'), once(child, 'close')]); return [text, ends]; }],
  ['a pipe from one child to another', async (spawn) => { const [from, to] = [spawn('printf', ['b\\na\\n']), spawn('sort')]; from.stdout.pipe(to.stdin); return (await play(to)).stdout; }],
  ['a grandchild that holds stdout', (spawn) => new Promise((resolve) => {
    const child = spawn('sh', ['-c', 'sleep 1000 & echo $!'], { ladder: { drainIdleMs: 1 } });
    let pid = '';
    child.stdout.on('data', (text) => (pid += text));
    const timer = setTimeout(() => { process.kill(Number(pid), 'SIGKILL'); resolve('open'); }, 5000);
    child.on('close', () => { clearTimeout(timer); resolve('closed'); });
  }), 'what outlives its root in silence is ended here; child_process waits for it'],
  ['throws: no file', thrown(undefined)],
  ['throws: an empty file', thrown('')],
  ['throws: a file with a null byte', thrown('a\0b')],
  ['throws: args that are no list', thrown('true', 'a')],
  ['throws: an argument with a null byte', thrown('true', ['a\0b'])],
  ['throws: options that are no object', thrown('true', [], 'a')],
  ['throws: a list as options', thrown('true', [], [])],
  ['throws: an unknown serialization', thrown('true', { serialization: 'other' })],
  ['throws: a shell with a null byte', thrown('true', { shell: 'a\0b' })],
  ['throws: a text among stdio', thrown('true', { stdio: ['other'] })],
  ['throws: an object among stdio', thrown('true', { stdio: [{}] })],
  ['throws: a symbol as timeout', thrown('true', { timeout: Symbol('a') })],
  ['throws: a number as cwd', thrown('true', { cwd: 1 })],
  ['throws: a number as shell', thrown('true', { shell: 1 })],
  ['throws: a number as argv0', thrown('true', { argv0: 1 })],
  ['throws: a text as windowsHide', thrown('true', { windowsHide: 'a' })],
  ['throws: a text as windowsVerbatimArguments', thrown('true', { windowsVerbatimArguments: 'a' })],
  ['throws: a negative timeout', thrown('true', { timeout: -1 })],
  ['throws: an unknown killSignal', thrown('true', { killSignal: 'SIGNONE' })],
  ['throws: a signal that is none', thrown('true', { signal: 1 })],
  ['throws: an unknown stdio', thrown('true', { stdio: 'other' })],
  ['throws: a null byte in env', thrown('true', { env: { A: 'a\0b' } })],
  ['detached', thrown('true', { detached: true }), 'it asks for a child that outlives its host'],
  ['a descriptor from 3 on', thrown('true', { stdio: ['pipe', 'pipe', 'pipe', 'pipe'] }), 'there is no pipe for it'],
];

const thrownOrSeen = async (spawn) => {
  try {
    return await play(spawn());
  } catch (error) {
    return ['thrown', error.code];
  }
};

let equal = 0;
for (const [name, act, reason] of cases) {
  test(name, { timeout: 30_000 }, async () => {
    const [expected, found] = [await act(ways.child_process), await act(ways.supervisor)];
    if (reason !== undefined) {
      assert.notDeepEqual(found, expected, `it is equal now, so the reason can go: ${reason}`);
      return;
    }
    assert.deepEqual(found, expected);
    equal += 1;
  });
}

test('at least 54 of at least 60 cases are equal', () => {
  assert.ok(cases.length >= 60);
  assert.ok(equal >= 54, `${equal}`);
  console.log(`${equal} of ${cases.length} cases are equal`);
});
