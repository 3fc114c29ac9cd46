// Types of the Node client. Those of the protocol are made of the program's own.

/// <reference types="node" />
import type { EventEmitter } from 'node:events';
import type { Readable, Writable } from 'node:stream';
import type { AfterExit, CancelMode, ChildLimits, Keep, Ladder, ListResult, Scope, ShutdownResult, TerminatedNotice } from './protocol.js';

export type Termination = TerminatedNotice;
export type StdioMode = 'pipe' | 'ignore' | 'inherit' | 'overlapped' | null | undefined;

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

export interface SpawnOptions {
  cwd?: string | URL;
  env?: Record<string, string | undefined>;
  argv0?: string;
  shell?: boolean | string;
  stdio?: StdioMode | StdioMode[];
  signal?: AbortSignal;
  timeout?: number;
  killSignal?: string | number;
  windowsHide?: boolean;
  windowsVerbatimArguments?: boolean;
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

export interface RunOptions extends SpawnOptions {
  /** What the child gets as its stdin. */
  input?: string | Uint8Array;
  /** How much of each stream is kept. Default 1 MiB. The rest is read and thrown away. */
  maxBytes?: number;
  /** Of the output. Default `utf8`; `buffer` for bytes. */
  encoding?: BufferEncoding | 'buffer';
}

export interface RunResult {
  code: number | null;
  signal: NodeJS.Signals | null;
  stdout: string | Buffer;
  stderr: string | Buffer;
  /** Whether `stdout` or `stderr` lacks something: it was more than `maxBytes`, or not read to its end. `termination` says which. */
  isTruncated: boolean;
  termination: Termination;
}

export interface CancelOptions {
  mode?: CancelMode;
  reason?: string;
}

export class ChildProcess extends EventEmitter {
  private constructor();
  stdin: Writable | null;
  stdout: Readable | null;
  stderr: Readable | null;
  readonly stdio: (Writable | Readable | null)[];
  /** Undefined until the event `spawn`. */
  pid: number | undefined;
  exitCode: number | null;
  signalCode: NodeJS.Signals | null;
  killed: boolean;
  readonly connected: false;
  readonly spawnfile: string;
  readonly spawnargs: string[];
  /** Resolves to the process id when the child was started. */
  readonly ready: Promise<number>;
  /** Resolves when the child and everything that it started have ended. */
  readonly terminated: Promise<Termination>;
  /** Sends a signal to the child alone. */
  kill(signal?: string | number): boolean;
  /** Ends the child and everything that it started. */
  cancel(options?: CancelOptions): Promise<Termination>;
  ref(): void;
  unref(): void;
  send(): never;
  disconnect(): never;
}

export class SupervisorError extends Error {
  code: 'ERR_SUPERVISOR_UNSUPPORTED' | 'ERR_SUPERVISOR_GONE' | 'ERR_SUPERVISOR_REFUSED' | 'E2BIG';
  kind: string;
}

export class Supervisor {
  constructor(options?: SupervisorOptions);
  readonly pid: number | undefined;
  spawn(file: string, args?: readonly string[], options?: SpawnOptions): ChildProcess;
  spawn(file: string, options?: SpawnOptions): ChildProcess;
  run(file: string, args?: readonly string[], options?: RunOptions): Promise<RunResult>;
  run(file: string, options?: RunOptions): Promise<RunResult>;
  list(): Promise<ListResult>;
  close(options?: { graceMs?: number }): Promise<ShutdownResult>;
}

export const spawn: Supervisor['spawn'];
export const run: Supervisor['run'];
export const close: Supervisor['close'];
