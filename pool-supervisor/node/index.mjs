// child_process.spawn by a sidecar: children are ended with everything they started.

import { ChildProcess } from './child.mjs';
import { SupervisorError } from './errors.mjs';
import { checkRun, normalize } from './options.mjs';
import { Sidecar } from './sidecar.mjs';
import { openStdio } from './stdio.mjs';

export { ChildProcess, SupervisorError };

/** Starts children by a sidecar of its own, which is started with the first of them. */
export class Supervisor {
  #options;
  #sidecar;

  constructor(options = {}) {
    this.#options = options;
  }

  #present() {
    // One that has gone is replaced.
    if (!this.#sidecar?.isUsable) this.#sidecar = new Sidecar(this.#options);
    return this.#sidecar;
  }

  /** The process id of the sidecar; undefined if none runs. */
  get pid() {
    return this.#sidecar?.isUsable ? this.#sidecar.pid : undefined;
  }

  spawn(file, args, options) {
    const spec = normalize(file, args, options);
    const sidecar = this.#present();
    // Order: last. What it opens would stay open after an error.
    return new ChildProcess(sidecar, { ...spec, modes: openStdio(spec.modes) });
  }

  async run(file, args, options) {
    const spec = Array.isArray(args) || args == null ? (options ?? {}) : args;
    const { input, maxBytes = 1024 * 1024, encoding = 'utf8' } = spec;
    // Order: checked first. A child that was started would be left behind.
    checkRun({ input, maxBytes, encoding });
    const child = this.spawn(file, args, options);
    const collected = [child.stdout, child.stderr].map((stream) => collect(stream, maxBytes));
    child.stdin?.on('error', () => {});
    child.stdin?.end(input);
    let failure;
    child.on('error', (error) => (failure ??= error));
    await new Promise((resolve) => child.once('close', resolve));
    if (failure !== undefined && failure.name !== 'AbortError') throw failure;
    const termination = await child.terminated;
    if (failure !== undefined) throw Object.assign(failure, { termination });
    const [stdout, stderr] = collected.map(({ chunks }) => {
      const bytes = Buffer.concat(chunks);
      return encoding === 'buffer' ? bytes : bytes.toString(encoding);
    });
    const isWhole = ({ drain, droppedBytes, cutBytes }) =>
      (drain === 'whole' || drain === 'none') && droppedBytes === 0 && cutBytes === 0;
    return {
      code: child.exitCode,
      signal: child.signalCode,
      stdout,
      stderr,
      isTruncated: collected.some(({ isTruncated }) => isTruncated) || ![termination.stdout, termination.stderr].every(isWhole),
      termination,
    };
  }

  /** All children, as the sidecar has them. */
  async list() {
    if (this.pid === undefined) return { children: [], keptBytes: 0, hasGuardian: false };
    return this.#sidecar.request('list', {});
  }

  /** Ends all children, and the sidecar. */
  async close({ graceMs } = {}) {
    if (this.pid === undefined) return { ended: 0, left: [] };
    const sidecar = this.#sidecar;
    // What is started from now on gets another one.
    this.#sidecar = undefined;
    return sidecar.request('shutdown', { graceMs });
  }
}

const collect = (stream, maxBytes) => {
  const collected = { chunks: [], bytes: 0, isTruncated: false };
  stream?.on('data', (chunk) => {
    const room = maxBytes - collected.bytes;
    collected.isTruncated ||= chunk.length > room;
    if (room > 0) collected.chunks.push(chunk.subarray(0, room));
    collected.bytes += Math.min(chunk.length, room);
  });
  return collected;
};

const shared = new Supervisor();

/** As `child_process.spawn`. */
export const spawn = (file, args, options) => shared.spawn(file, args, options);

/** Starts a child, gives it its input, and collects its output up to a limit. */
export const run = (file, args, options) => shared.run(file, args, options);

/** Ends all children of `spawn` and `run`, and their sidecar. */
export const close = (options) => shared.close(options);

export default { spawn, run, close, Supervisor, ChildProcess, SupervisorError };
