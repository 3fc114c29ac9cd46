// Made of the types of the program by its tests. Do not edit.

/** What becomes of processes that the child leaves behind when it exits by itself. */
export type AfterExit = "end" | "wait";

/** How a termination begins. */
export type CancelMode = "orderly" | "force";

/** The parameters of `cancel`. */
export interface CancelParams {
  /** The name of the child. */
  child: string;
  /** How the termination begins. A second cancel can hasten it, never slow it. Default `orderly`. */
  mode?: CancelMode;
  /** Why, up to 256 bytes; `terminated` repeats the reason of the first cancel. */
  reason?: string | null;
}

/** The result of `cancel`: the termination has begun. `terminated` tells how it ended. */
export interface CancelResult {
  /** In which state the child was. */
  was: ChildState;
}

/** What can be asked for on this system. */
export interface Capabilities {
  /** The scopes that are told apart here. */
  scopes: Scope[];
  /** Whether `session` works. */
  session: boolean;
  /** The names of the signals that can be sent. */
  signals: string[];
}

/** What the system does not let a child have. Each process that it starts has the same limits. */
export interface ChildLimits {
  /** How much memory it may map. A request for more fails. Default: no limit. */
  addressSpaceBytes?: number | null;
  /** How long it may compute; on Unix rounded up to seconds. Then the system kills it. Default: no limit. */
  cpuMs?: number | null;
  /** How many descriptors it may have. Refused on Windows. Default: that of this program. */
  openFiles?: number | null;
}

/** The state of a child. */
export type ChildState = "starting" | "running" | "exited" | "stopping";

/** The parameters of `closeStdin`. */
export interface CloseStdinParams {
  /** The name of the child. */
  child: string;
}

/** How many bytes of each stream may be sent. */
export interface Credit {
  /** Bytes of stderr. */
  stderr?: number;
  /** Bytes of stdout. */
  stdout?: number;
}

/** The result of `closeStdin`, `signal` and `grant`: it was done. */
export interface DoneResult {
}

/** How far a stream was read. */
export type DrainReport = "whole" | "none" | "timedOut" | "idle" | "noCredit" | "failed";

/** A child has exited. */
export interface ExitNotice {
  /** The name of the child. */
  child: string;
  /** How it exited. */
  exit: ExitReport;
}

/** How a child exited. Both are null if its status was lost. */
export interface ExitReport {
  /** Its exit code, if it exited. */
  code: number | null;
  /** The name of the signal that ended it, if one did. */
  signal: string | null;
}

/** An error as the host gets it. `message` says what went wrong, and often what to do. */
export interface Fault {
  /** -32700, -32600, -32601 and -32602 as JSON-RPC has them; -32000 for the rest. */
  code: number;
  /** What went wrong, for programs. */
  data: FaultData;
  /** What went wrong, for people. */
  message: string;
}

/** What went wrong, for programs. */
export interface FaultData {
  /** The name of the system's error, such as `ENOENT`. */
  errno?: string | null;
  /** Whether the same request may succeed later. */
  isTransient: boolean;
  /** Which kind of failure. */
  kind: FaultKind;
  /** Of a `write`: how many of its bytes the pipe took before. */
  writtenBytes?: number | null;
}

/** Which kind of failure. */
export type FaultKind = "notJson" | "lineTooLong" | "invalidRequest" | "unknownMethod" | "invalidParams" | "notInitialized" | "alreadyInitialized" | "unsupportedVersion" | "hostNotFound" | "hostNotWatchable" | "duplicateId" | "duplicateChild" | "unknownChild" | "tooManyChildren" | "programNotFound" | "programNotExecutable" | "cwd" | "argumentsTooLong" | "resources" | "spawnFailed" | "notStarted" | "stdinClosed" | "stdinBroken" | "tooManyWrites" | "stopping" | "processGone" | "signalRefused" | "shuttingDown";

/** The parameters of `grant`. */
export interface GrantParams {
  /** How many more bytes of it may be sent. */
  bytes: number;
  /** The name of the child. */
  child: string;
  /** Which stream. */
  stream: StreamName;
}

/** The parameters of `initialize`, which must be the first request. */
export interface InitializeParams {
  /** How long the children have after SIGTERM when the host has gone, until they are killed. Default 500. */
  hostGraceMs?: number | null;
  /** The process whose end means that the host has gone. Useful if somebody else can have inherited the write end of this program's stdin: that would hide the end of the input. */
  hostPid?: number | null;
  /** How much output of all children together is kept without being sent. Default 64 MiB. */
  keptBytesTotalMax?: number | null;
  /** The version of the protocol that the host speaks: 1. */
  protocolVersion: number;
}

/** The result of `initialize`. */
export interface InitializeResult {
  /** What can be asked for here. */
  capabilities: Capabilities;
  /** What is refused beyond. */
  limits: Limits;
  /** The process id of this program. */
  pid: number;
  /** The operating system, such as `linux`. */
  platform: string;
  /** The version of this program. */
  programVersion: string;
  /** The version of the protocol that is spoken from now on. */
  protocolVersion: number;
}

/** What becomes of output for which there is no credit. */
export interface Keep {
  /** How much output of the child is kept without being sent. Default 256 KiB. */
  bytesMax?: number | null;
  /** What happens when that is reached. Default `pause`. */
  whenFull?: WhenFull;
}

/** How long each step of a termination may last, in milliseconds. */
export interface Ladder {
  /** How long a pipe may stay open in silence after the end of the scope. Default 500. */
  drainIdleMs?: number | null;
  /** From the end of the scope, for reading the rest of the output. Default 2000. */
  drainTimeoutMs?: number | null;
  /** From the end of stdin to SIGTERM. Default 0: SIGTERM comes at once. */
  eofGraceMs?: number | null;
  /** For writing what was queued for stdin. Default 500. */
  flushMs?: number | null;
  /** From SIGTERM to SIGKILL if the cancel is by force. Default 0: SIGKILL at once. */
  forceGraceMs?: number | null;
  /** From the death of the child by SIGKILL, for the rest of its scope to die. Default 2000. */
  killWaitMs?: number | null;
  /** From SIGTERM to SIGKILL. Default 5000. */
  termGraceMs?: number | null;
}

/** What is refused beyond. */
export interface Limits {
  /** Children at the same time. */
  childrenMax: number;
  /** Bytes of output that are kept for all children. */
  keptBytesTotalMax: number;
  /** Bytes of one line of input. */
  lineBytesMax: number;
  /** Raw bytes in one `output`. */
  outputBytesMax: number;
  /** Bytes that wait to be written to one child. */
  writeBytesMax: number;
}

/** The parameters of `list`: none. */
export interface ListParams {
}

/** The result of `list`. */
export interface ListResult {
  /** All children that were asked for and not told as `terminated`, by name. */
  children: ListedChild[];
  /** Whether the children are ended if this program is killed: by a guardian, or on Windows by the system. */
  hasGuardian: boolean;
  /** Bytes of output that are kept for all of them. */
  keptBytes: number;
}

/** One child in a list. */
export interface ListedChild {
  /** Its name. */
  child: string;
  /** Bytes of its output that are kept. */
  keptBytes: number;
  /** Its process id, once it was started. */
  pid: number | null;
  /** Its state. */
  state: ChildState;
  /** Bytes that wait to be written to its stdin. */
  unwrittenBytes: number;
}

/** A child has written this. It has `text` or `base64`, whichever is shorter; bytes that are no UTF-8 come in base64. */
export interface OutputNotice {
  /** The bytes, in standard base64 with padding. */
  base64?: string | null;
  /** The name of the child. */
  child: string;
  /** How many bytes of the stream were dropped before these, since the last that were told. */
  droppedBytes?: number;
  /** The number of this notification among those of the stream, from 0. */
  seq: number;
  /** Which stream. */
  stream: StreamName;
  /** The bytes, as text. */
  text?: string | null;
}

/** Which step of the ladder ended the last process of a scope. */
export type RungReport = "alreadyGone" | "eof" | "term" | "kill";

/** Which processes an end of the child ends. */
export type Scope = "root" | "group" | "tree";

/** The parameters of `shutdown`. */
export interface ShutdownParams {
  /** How long the children have after SIGTERM until they are killed. Default: `hostGraceMs`. */
  graceMs?: number | null;
}

/** The result of `shutdown`: every child is told as `terminated`, and this program leaves. */
export interface ShutdownResult {
  /** How many children ended by this. */
  ended: number;
  /** The process ids of those that did not. */
  left: number[];
}

/** The parameters of `signal`. */
export interface SignalParams {
  /** The name of the child. */
  child: string;
  /** The name of the signal, such as `SIGTERM`. `initialize` tells which there are. */
  signal: string;
  /** Who gets it. Default `group`. */
  to?: SignalTarget;
}

/** Who gets a signal. */
export type SignalTarget = "root" | "group";

/** The parameters of `spawn`. Exactly one of `argv` and `shell` is given. */
export interface SpawnParams {
  /** What becomes of processes that the child leaves behind when it exits by itself. Default `end`. */
  afterExit?: AfterExit;
  /** The program and its arguments. A name without a slash is looked up in the `PATH` of `env`. */
  argv?: string[] | null;
  /** What the program sees as its own name. Default: the first of `argv`, or the shell. With `limits` it sees its path, and any other name than the first of `argv` is refused. */
  argv0?: string | null;
  /** The name of the child, chosen by the host: 1 to 128 bytes, not in use. It is free again after `terminated`. */
  child: string;
  /** The credit that the child begins with. Default 0. */
  credit?: Credit;
  /** The working directory, absolute. */
  cwd: string;
  /** The whole environment. Nothing is inherited from this program. */
  env: Record<string, string>;
  /** What becomes of output for which there is no credit. */
  keep?: Keep;
  /** How long each step of a termination may last. */
  ladder?: Ladder;
  /** What the system does not let the child have. */
  limits?: ChildLimits;
  /** Which processes an end of the child ends. Default `tree`. */
  scope?: Scope;
  /** Whether the child leads a session of its own, without a terminal. Linux only. */
  session?: boolean;
  /** A script for a shell, run as `shellPath -c shell`. */
  shell?: string | null;
  /** The shell. Default `/bin/sh`. */
  shellPath?: string | null;
  /** What the child has as stdin, stdout and stderr. */
  stdio?: Stdio;
  /** After this time the child is cancelled, with the reason `timeout`. Default: never. */
  timeoutMs?: number | null;
}

/** The result of `spawn`. */
export interface SpawnResult {
  /** The process id. */
  pid: number;
}

/** A child was started. */
export interface SpawnedNotice {
  /** The name of the child. */
  child: string;
  /** Its process id. */
  pid: number;
}

/** What a child has as stderr. */
export type StderrMode = "pipe" | "null" | "log";

/** What a child has as stdin. */
export type StdinMode = "pipe" | "null";

/** What a child has as stdin, stdout and stderr. */
export interface Stdio {
  /** Default `pipe`. */
  stderr?: StderrMode;
  /** Default `pipe`. */
  stdin?: StdinMode;
  /** Default `pipe`. */
  stdout?: StdoutMode;
}

/** What a child has as stdout. */
export type StdoutMode = "pipe" | "null";

/** A stream of a child is at its end, or is not read any more. All of its output was told. It is not told of a stream that is not a pipe. */
export interface StreamEndedNotice {
  /** The name of the child. */
  child: string;
  /** How far it was read. */
  drain: DrainReport;
  /** Which stream. */
  stream: StreamName;
}

/** One of the two streams that a child writes. */
export type StreamName = "stdout" | "stderr";

/** What became of a stream. */
export interface StreamReport {
  /** Bytes that were told as `output`. */
  bytes: number;
  /** Bytes that were read and not told, because the time for that was over. */
  cutBytes: number;
  /** How far it was read. */
  drain: DrainReport;
  /** Bytes that were dropped as the oldest. */
  droppedBytes: number;
}

/** The processes of a scope that outlived its termination. */
export interface SurvivorReport {
  /** How many; null if they could not be counted. */
  count: number | null;
  /** The process ids of those that are known. */
  pids: number[];
  /** Why they could not be counted. */
  unknownBecause: string | null;
}

/** A child has ended with its scope, and all of its output was told. */
export interface TerminatedNotice {
  /** The name of the child. */
  child: string;
  /** From the begin of the termination to this notification. If the child exited by itself: from its exit. */
  elapsedMs: number;
  /** How it exited. */
  exit: ExitReport;
  /** Whether it had exited before its termination began. */
  exitedByItself: boolean;
  /** Its process id, which the system may have given to another process by now. */
  pid: number;
  /** Why its termination was begun; null if it exited by itself. */
  reason: string | null;
  /** Which step of the ladder ended the last process of its scope. */
  rung: RungReport;
  /** What became of its stderr. */
  stderr: StreamReport;
  /** What became of its stdout. */
  stdout: StreamReport;
  /** The processes of its scope that outlived all this. */
  survivors: SurvivorReport;
  /** Bytes that were queued for its stdin and never written. */
  unwrittenBytes: number;
}

/** What happens when no more output can be kept. */
export type WhenFull = "pause" | "dropOldest";

/** The parameters of `write`. Exactly one of `text` and `base64` is given. */
export interface WriteParams {
  /** The bytes, in standard base64 with padding. */
  base64?: string | null;
  /** The name of the child. */
  child: string;
  /** The bytes, as text. */
  text?: string | null;
}

/** The result of `write`: the pipe took all of it. */
export interface WriteResult {
  /** How many bytes. */
  bytes: number;
}

/** The parameters and the result of each method. */
export interface Methods {
  cancel: { params: CancelParams; result: CancelResult };
  closeStdin: { params: CloseStdinParams; result: DoneResult };
  grant: { params: GrantParams; result: DoneResult };
  initialize: { params: InitializeParams; result: InitializeResult };
  list: { params: ListParams; result: ListResult };
  shutdown: { params: ShutdownParams; result: ShutdownResult };
  signal: { params: SignalParams; result: DoneResult };
  spawn: { params: SpawnParams; result: SpawnResult };
  write: { params: WriteParams; result: WriteResult };
}

/** The parameters of each notification. */
export interface Notifications {
  exit: ExitNotice;
  output: OutputNotice;
  spawned: SpawnedNotice;
  streamEnded: StreamEndedNotice;
  terminated: TerminatedNotice;
}
