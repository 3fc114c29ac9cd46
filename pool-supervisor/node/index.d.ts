// Types of the Node client. Those of the protocol are made of the program's own.

/// <reference types="node" />
import type {
  ChildProcess as NodeChildProcess,
  SpawnOptions as NodeSpawnOptions,
  SpawnOptionsWithoutStdio as NodeSpawnOptionsWithoutStdio,
  StdioNull,
  StdioPipe,
} from 'node:child_process';
import type { Readable, Writable } from 'node:stream';
import type { AfterExit, CancelMode, ChildLimits, FaultKind, Keep, Ladder, ListResult, Scope, ShutdownResult, TerminatedNotice } from './protocol.js';

export type { IOType, StdioNull, StdioOptions, StdioPipe, StdioPipeNamed } from 'node:child_process';

export type Termination = TerminatedNotice;

export interface SupervisorOptions {
  /** The program. Default: that of the environment variable POOL_SUPERVISOR, then that of this package, then the name. */
  program?: string;
  /** Where its log goes. Default `inherit`. */
  log?: 'inherit' | 'ignore';
  /** How long children have after SIGTERM when this process has gone. Default 500. */
  hostGraceMs?: number;
  /** How much output of all children is kept without being read. Default 64 MiB. */
  keptBytesTotalMax?: number;
}

/** What is asked for beyond the options of Node. */
export interface SupervisedOptions {
  /** Which processes an end of the child ends. Default `tree`. */
  scope?: Scope;
  /** Whether the child leads a session of its own. */
  session?: boolean;
  /** How long each step of a termination may last. */
  ladder?: Ladder;
  /** What the system does not let the child have. Not together with `argv0`. */
  limits?: ChildLimits;
  /** What becomes of output that is not read. */
  keep?: Keep;
  /** What becomes of processes that the child leaves behind when it exits by itself. Default `end`. */
  afterExit?: AfterExit;
}

/**
 * Those of Node. `detached`, `uid`, `gid`, `ipc` and descriptors from 3 on throw `ERR_SUPERVISOR_UNSUPPORTED`;
 * `serialization` does nothing.
 */
export interface SpawnOptions extends NodeSpawnOptions, SupervisedOptions {}
export interface SpawnOptionsWithoutStdio extends NodeSpawnOptionsWithoutStdio, SupervisedOptions {}
export interface SpawnOptionsWithStdioTuple<
  Stdin extends StdioNull | StdioPipe,
  Stdout extends StdioNull | StdioPipe,
  Stderr extends StdioNull | StdioPipe,
> extends SpawnOptions {
  stdio: [Stdin, Stdout, Stderr];
}

export interface RunOptions extends SpawnOptions {
  /** What the child gets as its stdin. */
  input?: string | Uint8Array;
  /** How much of each stream is kept. Default 1 MiB. The rest is read and thrown away. */
  maxBytes?: number;
  /** Of the output. Default `utf8`; `buffer` for bytes. */
  encoding?: BufferEncoding | 'buffer';
}

export interface RunResult<Output extends string | Buffer = string> {
  code: number | null;
  signal: NodeJS.Signals | null;
  stdout: Output;
  stderr: Output;
  /** Whether `stdout` or `stderr` lacks something: it was more than `maxBytes`, or not read to its end. `termination` says which. */
  isTruncated: boolean;
  termination: Termination;
}

export interface CancelOptions {
  mode?: CancelMode;
  /** Why: its text, of at most 64 characters. */
  reason?: unknown;
}

/** It is of Node's type, so that what takes a child of Node's takes it. `pid` is undefined until the event `spawn`. */
export class ChildProcess extends NodeChildProcess {
  private constructor();
  /** Resolves to the process id when the child was started. */
  readonly ready: Promise<number>;
  /** Resolves when the child and everything that it started have ended. */
  readonly terminated: Promise<Termination>;
  /** Ends the child and everything that it started. */
  cancel(options?: CancelOptions): Promise<Termination>;
}

export interface ChildProcessByStdio<I extends null | Writable, O extends null | Readable, E extends null | Readable>
  extends ChildProcess {
  stdin: I;
  stdout: O;
  stderr: E;
  readonly stdio: [I, O, E, Readable | Writable | null | undefined, Readable | Writable | null | undefined];
}

export interface ChildProcessWithoutNullStreams extends ChildProcessByStdio<Writable, Readable, Readable> {}

interface SpawnPiped {
  (file: string, options?: SpawnOptionsWithoutStdio): ChildProcessWithoutNullStreams;
  (file: string, args?: readonly string[], options?: SpawnOptionsWithoutStdio): ChildProcessWithoutNullStreams;
}

interface SpawnByStdio<
  I extends StdioNull | StdioPipe,
  O extends StdioNull | StdioPipe,
  E extends StdioNull | StdioPipe,
  Stdin extends Writable | null,
  Stdout extends Readable | null,
  Stderr extends Readable | null,
> {
  (file: string, options: SpawnOptionsWithStdioTuple<I, O, E>): ChildProcessByStdio<Stdin, Stdout, Stderr>;
  (file: string, args: readonly string[], options: SpawnOptionsWithStdioTuple<I, O, E>): ChildProcessByStdio<Stdin, Stdout, Stderr>;
}

interface SpawnAny {
  (file: string, options: SpawnOptions): ChildProcess;
  (file: string, args: readonly string[], options: SpawnOptions): ChildProcess;
}

/** As `child_process.spawn`: it fits wherever Node's is expected. */
export type Spawn = SpawnPiped &
  SpawnByStdio<StdioPipe, StdioPipe, StdioPipe, Writable, Readable, Readable> &
  SpawnByStdio<StdioPipe, StdioPipe, StdioNull, Writable, Readable, null> &
  SpawnByStdio<StdioPipe, StdioNull, StdioPipe, Writable, null, Readable> &
  SpawnByStdio<StdioNull, StdioPipe, StdioPipe, null, Readable, Readable> &
  SpawnByStdio<StdioPipe, StdioNull, StdioNull, Writable, null, null> &
  SpawnByStdio<StdioNull, StdioPipe, StdioNull, null, Readable, null> &
  SpawnByStdio<StdioNull, StdioNull, StdioPipe, null, null, Readable> &
  SpawnByStdio<StdioNull, StdioNull, StdioNull, null, null, null> &
  SpawnAny;

/** Starts a child, gives it its input, and collects its output up to a limit. */
export interface Run {
  (file: string, args: readonly string[], options: RunOptions & { encoding: 'buffer' }): Promise<RunResult<Buffer>>;
  (file: string, options: RunOptions & { encoding: 'buffer' }): Promise<RunResult<Buffer>>;
  (file: string, args?: readonly string[], options?: RunOptions & { encoding?: BufferEncoding }): Promise<RunResult>;
  (file: string, options?: RunOptions & { encoding?: BufferEncoding }): Promise<RunResult>;
  (file: string, args: readonly string[], options: RunOptions): Promise<RunResult<string | Buffer>>;
  (file: string, options: RunOptions): Promise<RunResult<string | Buffer>>;
}

export class SupervisorError extends Error {
  private constructor();
  code: 'ERR_SUPERVISOR_UNSUPPORTED' | 'ERR_SUPERVISOR_GONE' | 'ERR_SUPERVISOR_REFUSED' | 'E2BIG';
  /** Which kind: `unsupported`, `gone`, `tooLong`, `unusable`, or what the supervisor answered. */
  kind: FaultKind | 'unsupported' | 'gone' | 'tooLong' | 'unusable';
}

export class Supervisor {
  constructor(options?: SupervisorOptions);
  readonly pid: number | undefined;
  spawn: Spawn;
  run: Run;
  list(): Promise<ListResult>;
  close(options?: { graceMs?: number }): Promise<ShutdownResult>;
}

export const spawn: Spawn;
export const run: Run;
export const close: Supervisor['close'];

declare const all: {
  spawn: Spawn;
  run: Run;
  close: Supervisor['close'];
  Supervisor: typeof Supervisor;
  ChildProcess: typeof ChildProcess;
  SupervisorError: typeof SupervisorError;
};
export default all;
