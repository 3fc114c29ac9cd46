// A child in the shape of `child_process.ChildProcess`.

import { AsyncResource } from 'node:async_hooks';
import { ChildProcess as NodeChildProcess } from 'node:child_process';
import { EventEmitter } from 'node:events';

import { abortError, safely, systemError, valueError } from './errors.mjs';
import { drawFrom, pourInto } from './host_streams.mjs';
import { signalName } from './options.mjs';
import { ChildInput, ChildOutput, WINDOW_BYTES } from './streams.mjs';

/** How long the event `exit` waits for inherited output that somebody else than the child still holds. */
const INHERITED_MILLIS = 500;

/** What is a `ChildProcess` of Node's for `instanceof`, without the handle that Node's constructor makes. */
function Kin() {
  EventEmitter.call(this);
}
Object.setPrototypeOf(Kin, EventEmitter);
Kin.prototype = Object.create(NodeChildProcess.prototype, { constructor: { value: Kin, writable: true, configurable: true } });

export class ChildProcess extends Kin {
  #sidecar;
  #name;
  #isHeld = true;
  #isSpawned = false;
  /** It has exited, although the event can wait for inherited output. */
  #hasExited = false;
  #isOver = false;
  #isClosed = false;
  #outputs = {};
  #openOutputs = 0;
  #openInherited = 0;
  #inherited = [];
  /** An exit whose event waits for inherited output. */
  #heldExit = null;
  #isEnded = false;
  #input = null;
  #ready = Promise.withResolvers?.() ?? deferred();
  #terminated = Promise.withResolvers?.() ?? deferred();
  #atExit = [];
  #atEnd = [];
  /** What the sidecar has told, and waits for a turn of the event loop. */
  #untold = [];
  #isTurnOver = false;
  /** Listeners run in the context in which the child was started, such as that of an `AsyncLocalStorage`. */
  #context = new AsyncResource('POOLSUPERVISORCHILD');

  pid = undefined;
  exitCode = null;
  signalCode = null;
  killed = false;
  connected = false;
  stdin = null;
  stdout = null;
  stderr = null;

  constructor(sidecar, spec) {
    super();
    this.#sidecar = sidecar;
    this.#name = sidecar.add(this);
    this.spawnfile = spec.file;
    this.spawnargs = [spec.argv0, ...spec.args];
    // Whoever does not ask for them is not told by an unhandled rejection.
    this.#ready.promise.catch(() => {});
    this.#terminated.promise.catch(() => {});
    sidecar.hold();
    this.#makeStreams(spec.modes);
    this.#start(spec);
    // Order: after the request to start it. What has ended already closes its stdin at once.
    if (this.#input !== this.stdin) drawFrom(spec.modes[0], this.#input);
    this.#watch(spec);
  }

  /** Resolves to the process id when the child was started. */
  get ready() {
    return this.#ready.promise;
  }

  /**
   * Resolves when the child and everything that it started have ended, to how that went. Whoever asks keeps
   * the event loop alive until then.
   */
  get terminated() {
    this.#sidecar.hold();
    return this.#terminated.promise.finally(() => this.#sidecar.release());
  }

  #makeStreams(modes) {
    const [input, ...outputs] = modes;
    if (input !== 'ignore') {
      this.#input = new ChildInput(this.#sidecar, this.#name);
      if (input === 'pipe') this.stdin = this.#input;
      else this.#input.on('error', () => {});
    }
    for (const [place, mode] of outputs.slice(0, 2).entries()) {
      if (mode === 'ignore') continue;
      const name = place === 0 ? 'stdout' : 'stderr';
      const isPipe = mode === 'pipe';
      const onDone = this.#context.bind(() => {
        this.#openOutputs -= 1;
        if (!isPipe && --this.#openInherited === 0) this.#releaseExit();
        this.#maybeClose();
      });
      const output = new ChildOutput(this.#sidecar, this.#name, name, {
        onFlood: () => this.#flooded(),
        onClosed: isPipe ? onDone : undefined,
      });
      this.#outputs[name] = output;
      this.#openOutputs += 1;
      if (isPipe) {
        // As a pipe of Node does, it holds the event loop by itself.
        output.ref();
        this[name] = output;
        continue;
      }
      this.#openInherited += 1;
      this.#inherited.push(output);
      pourInto(output, mode, onDone);
    }
    this.stdio = [this.stdin, this.stdout, this.stderr, ...modes.slice(3).map(() => null)];
  }

  #start(spec) {
    const mode = (name) => (this.#outputs[name] ? 'pipe' : 'null');
    const credit = (name) => (this.#outputs[name] ? WINDOW_BYTES : 0);
    this.#sidecar
      .request('spawn', {
        child: this.#name,
        argv: spec.argv,
        argv0: spec.argv0,
        env: spec.env,
        cwd: spec.cwd,
        scope: spec.scope,
        session: spec.session,
        ladder: spec.ladder,
        limits: spec.limits,
        keep: spec.keep,
        afterExit: spec.afterExit,
        stdio: { stdin: this.#input ? 'pipe' : 'null', stdout: mode('stdout'), stderr: mode('stderr') },
        credit: { stdout: credit('stdout'), stderr: credit('stderr') },
      })
      .catch((error) => {
        // Order: before the writes are refused, so that stdin has no event `error` besides that of the child.
        this.#input?.destroy();
        // Not in the promise: what a listener throws is an uncaught exception, as in Node.
        process.nextTick(() => this.#failed(error));
      });
  }

  #watch({ signal, timeout, killSignal, afterExit }) {
    // What the child leaves behind is waited for without a limit then, so both still count.
    const isLong = afterExit === 'wait';
    const cleanUp = isLong ? this.#atEnd : this.#atExit;
    const end = (reason) => {
      // The usual way ends the whole tree, by force at last; another signal is sent as it is.
      const isOver = this.#hasExited || this.#isOver;
      if (signalName(killSignal) !== 'SIGTERM' && !isOver) return this.kill(killSignal);
      if (isLong ? this.#isEnded : isOver) return false;
      this.killed = true;
      this.#cancel('orderly', reason);
      return true;
    };
    if (timeout > 0) {
      const timer = setTimeout(() => end('timeout'), timeout);
      cleanUp.push(() => clearTimeout(timer));
    }
    if (signal) {
      const abort = () => {
        if (!end('aborted')) return;
        const tell = () => this.emit('error', abortError(signal.reason));
        // The event `spawn` comes first, as it does for Node.
        if (this.#isSpawned) tell();
        else this.once('spawn', () => process.nextTick(tell));
      };
      if (signal.aborted) process.nextTick(abort);
      else {
        signal.addEventListener('abort', abort, { once: true });
        cleanUp.push(() => signal.removeEventListener('abort', abort));
      }
    }
  }

  /**
   * Takes what the sidecar tells of this child. Output apart, each message has a turn of the event loop of its own, as each
   * event has in Node: otherwise what waits for `spawn` or `ready` would listen for `exit` and `close` too late.
   */
  told(method, params) {
    this.#untold.push([method, params]);
    if (!this.#isTurnOver) this.#tell();
  }

  #tell() {
    while (this.#untold.length > 0) {
      const [method, params] = this.#untold.shift();
      if (method !== 'output') {
        this.#isTurnOver = true;
        setImmediate(() => {
          this.#isTurnOver = false;
          this.#tell();
        });
      }
      this.#context.runInAsyncScope(() => this.#take(method, params));
      if (this.#isTurnOver) return;
    }
  }

  #take(method, params) {
    switch (method) {
      case 'spawned':
        this.#isSpawned = true;
        this.pid = params.pid;
        this.#ready.resolve(params.pid);
        this.#say('spawn');
        break;
      case 'output':
        this.#outputs[params.stream]?.receive(params);
        break;
      case 'streamEnded':
        this.#outputs[params.stream]?.end();
        this.#maybeRelease();
        break;
      case 'exit':
        this.#hasExited = true;
        this.exitCode = params.exit.code;
        this.signalCode = params.exit.signal;
        this.#heldExit = params.exit;
        if (this.#openInherited === 0) this.#releaseExit();
        else {
          const timer = setTimeout(() => this.#releaseExit(), INHERITED_MILLIS);
          this.#atExit.push(() => clearTimeout(timer));
        }
        break;
      case 'terminated':
        this.#ended();
        this.#terminated.resolve(params);
        break;
      case 'lost':
        this.#lose(params);
        break;
    }
  }

  /** Output that went to a stream of the host was written before its event `exit`, as it is for Node. */
  #releaseExit() {
    const exit = this.#heldExit;
    this.#heldExit = null;
    if (exit !== null) this.#exited(exit.code, exit.signal);
  }

  /** Emits an event. What is to be done after it is done although a listener throws. */
  #say(...event) {
    safely(() => this.emit(...event));
  }

  #ended() {
    this.#isEnded = true;
    this.#atEnd.forEach((one) => one());
  }

  #exited(code, signal) {
    this.#over();
    this.#say('exit', code, signal);
    process.nextTick(() => this.#flush());
    this.#maybeClose();
  }

  #over() {
    this.#isOver = true;
    this.#atExit.forEach((one) => one());
    this.#input?.destroy();
  }

  /** It goes on writing to a stream that was destroyed. With a pipe of its own it would get this signal. */
  #flooded() {
    this.#sidecar.request('signal', { child: this.#name, signal: 'SIGPIPE', to: 'root' }).catch(() => {});
  }

  /** Output that nobody reads does not hold up the end. That for a stream of the host is read at that stream's pace. */
  #flush() {
    for (const output of [this.stdout, this.stderr]) {
      if (output?.readable) output.resume();
    }
  }

  /** An error of the system names this child. */
  #named(error) {
    if (!error.fault) return error;
    return systemError(error.fault, `spawn ${this.spawnfile}`, { path: this.spawnfile, spawnargs: this.spawnargs.slice(1) });
  }

  #failed(error) {
    if (this.#isSpawned || this.#isOver) return;
    this.#sidecar.forget(this.#name);
    const system = this.#named(error);
    this.exitCode = system.errno ?? null;
    this.#ready.reject(system);
    this.#terminated.reject(system);
    this.#ended();
    this.#over();
    Object.values(this.#outputs).forEach((output) => output.end());
    this.#say('error', system);
    process.nextTick(() => this.#flush());
    this.#maybeClose();
  }

  /** The sidecar has gone, and nothing more is known. */
  lost(cause) {
    this.told('lost', cause);
  }

  #lose(cause) {
    const error = this.#named(cause);
    this.#ready.reject(error);
    this.#terminated.reject(error);
    this.#ended();
    this.#releaseExit();
    const wasOver = this.#isOver;
    this.#over();
    Object.values(this.#outputs).forEach((output) => output.destroy());
    if (!wasOver || !this.#isClosed) this.#say('error', error);
    this.#maybeClose();
  }

  /** A pipe holds the event loop by itself. So does a stream of the host that writes the last output. */
  get #mayHold() {
    return !this.#isOver || this.#inherited.some((output) => output.isOpen);
  }

  #maybeRelease() {
    if (!this.#mayHold) this.unref();
  }

  #maybeClose() {
    this.#maybeRelease();
    if (!this.#isOver || this.#openOutputs > 0 || this.#isClosed) return;
    this.#isClosed = true;
    this.#say('close', this.exitCode, this.signalCode);
  }

  /** Sends a signal to the child alone. */
  kill(signal = 'SIGTERM') {
    const name = signal === 0 ? 0 : signalName(signal);
    if (this.#hasExited || this.#isOver || this.#sidecar.gone) return false;
    this.killed = true;
    if (name === 0) return true;
    const send = () => this.#sidecar.request('signal', { child: this.#name, signal: name, to: 'root' });
    const sent = this.#isSpawned ? send() : this.ready.then(send);
    sent.catch((error) => {
      // Its end has begun, and the caller does not want to wait for that.
      if (error.kind === 'stopping' && name === 'SIGKILL') return this.#cancel('force', 'killed');
      if (error.kind !== 'invalidParams' && error.kind !== 'signalRefused') return;
      // Not in the promise: without a listener it is an uncaught exception, as in Node.
      process.nextTick(() => this.emit('error', systemError(error.fault, 'kill')));
    });
    return true;
  }

  /** Ends the child and everything that it started. Resolves to how that went. */
  cancel({ mode = 'orderly', reason } = {}) {
    if (mode !== 'orderly' && mode !== 'force') throw valueError('mode', "must be 'orderly' or 'force'", mode);
    this.#cancel(mode, reason);
    const ended = this.terminated;
    // Whoever does not wait for it has the event `error`.
    ended.catch(() => {});
    return ended;
  }

  #cancel(mode, reason) {
    // Short enough for any reason, such as an error of an AbortSignal.
    const text = reason === undefined ? undefined : [...String(reason)].slice(0, 64).join('');
    // It may have ended by itself just now: `terminated` tells.
    this.#sidecar.request('cancel', { child: this.#name, mode, reason: text }).catch(() => {});
  }

  ref() {
    if (this.#isHeld || !this.#mayHold) return;
    this.#sidecar.hold();
    this.#isHeld = true;
  }

  unref() {
    if (this.#isHeld) this.#sidecar.release();
    this.#isHeld = false;
  }

  [Symbol.dispose ?? Symbol.for('nodejs.dispose')]() {
    if (!this.killed) this.kill();
  }
}

const deferred = () => {
  const one = {};
  one.promise = new Promise((resolve, reject) => Object.assign(one, { resolve, reject }));
  return one;
};

