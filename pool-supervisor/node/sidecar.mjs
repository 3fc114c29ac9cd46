// One running sidecar: its process, its requests, and the children that it serves.

import { spawn as start } from 'node:child_process';
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

import { gone, notStarted, refusedStart, SupervisorError } from './errors.mjs';

/** What the supervisor reads at most as one request. */
const LINE_BYTES_MAX = 4 << 20;
/** How long what it has said is waited for after its exit, if somebody else holds its stdout. */
const LAST_WORDS_MILLIS = 1000;

const ownProgram = () => {
  const name = process.platform === 'win32' ? 'pool-supervisor.exe' : 'pool-supervisor';
  const packed = fileURLToPath(new URL(`./bin/${name}`, import.meta.url));
  // The system cannot execute what is inside an archive of Electron's, so its packers put programs beside it.
  const unpacked = packed.replace(/\.asar(?=[\\/])/, '.asar.unpacked');
  return process.env.POOL_SUPERVISOR || [unpacked, packed].find((path) => existsSync(path)) || name;
};

/** A message of the supervisor; undefined if it is none. */
const parsed = (line) => {
  try {
    const message = JSON.parse(line);
    const isNotice = message.id === undefined && typeof message.params?.child === 'string';
    const isAnswer = message.result !== undefined || typeof message.error?.message === 'string';
    return isNotice || isAnswer ? message : undefined;
  } catch {
    return undefined;
  }
};

export class Sidecar {
  #process;
  #requests = new Map();
  #children = new Map();
  #nextId = 1;
  #nextName = 1;
  #holds = 0;
  #rest = '';
  #isReady = false;
  #hasExited = false;

  /** The reason of its end; undefined while it lives. */
  gone;

  constructor(options = {}) {
    this.#process = start(options.program ?? ownProgram(), [], {
      stdio: ['pipe', 'pipe', options.log ?? 'inherit'],
      windowsHide: true,
    });
    this.#process.on('error', (error) => this.#end(error.message, notStarted(error)));
    this.#process.on('exit', (code, signal) => this.#exited(signal ?? `exit code ${code}`));
    // There are no streams if this program has no descriptors left. The event `error` comes then.
    this.#process.stdin?.on('error', () => {});
    this.#process.stdout?.setEncoding('utf8').on('data', (text) => this.#read(text));
    this.#unref();
    this.request('initialize', {
      protocolVersion: 1,
      hostPid: process.pid,
      hostGraceMs: options.hostGraceMs,
      keptBytesTotalMax: options.keptBytesTotalMax,
    }).then(() => (this.#isReady = true), (error) => this.#refused(error));
  }

  /** Whether it takes more children. */
  get isUsable() {
    return !this.gone && !this.#hasExited;
  }

  /** Order: what it said before its exit can still be in the pipe, so that the end of the pipe is waited for. */
  #exited(why) {
    this.#hasExited = true;
    const end = () => {
      clearTimeout(timer);
      this.#end(why, this.#isReady ? gone(why) : notStarted({ message: `it ended before it answered (${why})` }));
    };
    const timer = setTimeout(end, LAST_WORDS_MILLIS);
    const output = this.#process.stdout;
    if (!output || output.readableEnded || output.destroyed) end();
    else output.once('close', end);
  }

  /** It does not want to serve this program, and would wait for its input for ever. */
  #refused(error) {
    if (this.gone) return;
    this.#end(error.message, refusedStart(error));
    this.#process.stdin?.destroy();
    this.#process.kill();
  }

  get pid() {
    return this.#process.pid;
  }

  /** Keeps the event loop alive until `release` was called as often. */
  hold() {
    if (this.#holds++ > 0 || this.gone) return;
    this.#process.ref();
    this.#process.stdout?.ref?.();
  }

  release() {
    if (--this.#holds === 0) this.#unref();
  }

  #unref() {
    this.#process.unref();
    this.#process.stdin?.unref?.();
    this.#process.stdout?.unref?.();
  }

  /** Serves a child under a new name. */
  add(child) {
    const name = String(this.#nextName++);
    this.#children.set(name, child);
    return name;
  }

  /** A request whose answer is awaited. */
  async request(method, params) {
    if (this.gone) throw gone(this.gone);
    const id = this.#nextId++;
    const line = JSON.stringify({ jsonrpc: '2.0', id, method, params });
    if (Buffer.byteLength(line) > LINE_BYTES_MAX) {
      throw new SupervisorError(`${method}: too long for the supervisor: ${LINE_BYTES_MAX} bytes are allowed`, 'E2BIG', 'tooLong');
    }
    this.hold();
    try {
      return await new Promise((resolve, reject) => {
        this.#requests.set(id, { resolve, reject });
        this.#process.stdin?.write(`${line}\n`);
      });
    } finally {
      this.release();
    }
  }

  /** A request without an answer. */
  tell(method, params) {
    if (!this.gone) this.#process.stdin?.write(`${JSON.stringify({ jsonrpc: '2.0', method, params })}\n`);
  }

  #read(text) {
    const lines = (this.#rest + text).split('\n');
    this.#rest = lines.pop();
    for (const line of lines) {
      if (this.gone) return;
      const message = parsed(line);
      if (message === undefined) this.#refused({ message: `it says what is no message: ${line.slice(0, 80)}`, kind: 'unusable' });
      else this.#take(message);
    }
  }

  #take(message) {
    if (message.id !== undefined) {
      const request = this.#requests.get(message.id);
      this.#requests.delete(message.id);
      if (message.error === undefined) request?.resolve(message.result);
      else request?.reject(Object.assign(new SupervisorError(message.error.message, 'ERR_SUPERVISOR_REFUSED', message.error.data?.kind), { fault: message.error }));
      return;
    }
    const name = message.params.child;
    const child = this.#children.get(name);
    if (message.method === 'terminated') this.#children.delete(name);
    child?.told(message.method, message.params);
  }

  forget(name) {
    this.#children.delete(name);
  }

  #end(why, error = gone(why)) {
    if (this.gone) return;
    this.gone = why;
    for (const { reject } of this.#requests.values()) reject(error);
    this.#requests.clear();
    const children = [...this.#children.values()];
    this.#children.clear();
    for (const child of children) child.lost(error);
  }

  kill(signal) {
    return this.#process.kill(signal);
  }
}
