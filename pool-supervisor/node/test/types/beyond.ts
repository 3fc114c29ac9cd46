// Every member that the client has beyond child_process.
import cp, { spawn, run, close, Supervisor, SupervisorError, ChildProcess, type Termination, type RunResult, type SpawnOptions, type RunOptions, type SupervisorOptions, type CancelOptions } from 'pool-supervisor';
const s = new Supervisor({ program: 'x', log: 'ignore', hostGraceMs: 1, keptBytesTotalMax: 5 });
const c = s.spawn('x', ['a'], { scope: 'tree', session: true, ladder: { termGraceMs: 5 }, keep: { bytesMax: 5, whenFull: 'dropOldest' }, afterExit: 'wait' });
c.stdout.read();
const pid: number = await c.ready; const t: Termination = await c.terminated; const u: Termination = await c.cancel({ mode: 'force', reason: new Error('x') }); await c.cancel();
const r: RunResult = await run('x', ['a'], { input: 'x', maxBytes: 5, timeout: 5 }); const str: string = r.stdout;
const rb: RunResult<Buffer> = await run('x', [], { encoding: 'buffer', input: new Uint8Array(1) }); const buf: Buffer = rb.stderr;
const rl = await s.run('x', { encoding: 'latin1' }); const str2: string = rl.stdout; rl.isTruncated; rl.termination.rung; rl.code; rl.signal;
const l = await s.list(); l.children[0]?.pid; l.hasGuardian; const { ended, left } = await close({ graceMs: 0 }); await s.close(); s.pid;
await cp.close(); cp.spawn('x').stdout.read(); new cp.Supervisor();
const inst: boolean = c instanceof ChildProcess;
try {} catch (e) { if (e instanceof SupervisorError) { e.code === 'ERR_SUPERVISOR_GONE'; e.kind === 'stopping'; } }
// @ts-expect-error: it is refused
new ChildProcess();
// @ts-expect-error: it is refused
s.spawn('x', [], { scope: 'nope' });
// @ts-expect-error: it is refused
await run('x', [], { maxBytes: 'x' });
const o: SpawnOptions = {}; const ro: RunOptions = {}; const so: SupervisorOptions = {}; const co: CancelOptions = {};
const rr: RunResult<string | Buffer> = await run('x', [], ro);
export { pid, t, u, str, buf, str2, ended, left, inst, o, ro, so, co, rr };
