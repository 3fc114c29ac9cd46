// The streams of a child, with backpressure in both directions.

import { isUtf8 } from 'node:buffer';
import { Readable, Writable } from 'node:stream';

import { safely } from './errors.mjs';

/** How many bytes may be under way beyond what the stream buffers. */
export const WINDOW_BYTES = 256 * 1024;
const WRITE_BYTES_MAX = 256 * 1024;

/** Output of a child. More is granted when its reader wants more. */
export class ChildOutput extends Readable {
  #sidecar;
  #child;
  #stream;
  #window = WINDOW_BYTES;
  /** Whether its buffer has room. */
  #isWanted = true;
  #isRef = false;
  /** Whether the child's end of the pipe is closed. */
  #isComplete = false;
  #onFlood;
  #onClosed;
  #wastedBytes = 0;
  #isHolding = false;

  /** How many bytes have come. */
  bytesRead = 0;

  /**
   * `onFlood` is called once, if the child still writes much after the stream was destroyed; `onClosed` after the event
   * `close`. It is no listener, which the host could remove.
   */
  constructor(sidecar, child, stream, { onFlood, onClosed = () => {} }) {
    super({ highWaterMark: 64 * 1024 });
    this.#onFlood = onFlood;
    this.#onClosed = onClosed;
    this.#sidecar = sidecar;
    this.#child = child;
    this.#stream = stream;
  }

  /** Takes what the sidecar tells. */
  receive({ text, base64 }) {
    const bytes = text === undefined ? Buffer.from(base64, 'base64') : Buffer.from(text);
    this.#window -= bytes.length;
    this.bytesRead += bytes.length;
    if (this.destroyed) {
      // Nobody reads it any more, so it is thrown away.
      this.#grant();
      const wasFlood = this.#wastedBytes > WINDOW_BYTES;
      this.#wastedBytes += bytes.length;
      if (!wasFlood && this.#wastedBytes > WINDOW_BYTES) this.#onFlood();
      return;
    }
    this.#isWanted = true;
    safely(() => (this.#isWanted = this.push(bytes)));
    this.#holdOrRelease();
    if (this.#isWanted) this.#grant();
  }

  end() {
    this.#isComplete = true;
    this.#holdOrRelease();
    if (this.destroyed) return;
    safely(() => this.push(null));
    // As for Node, it ends by itself if it is empty, although nobody reads it.
    this.read(0);
  }

  /** Whether more can come. */
  get isOpen() {
    return !this.#isComplete && !this.destroyed;
  }

  _read() {
    this.#isWanted = true;
    this.#holdOrRelease();
    this.#grant();
  }

  _destroy(error, callback) {
    this.#grant();
    this.#holdOrRelease();
    callback(error);
    process.nextTick(this.#onClosed);
  }

  #grant() {
    const bytes = WINDOW_BYTES - this.#window;
    if (bytes < WINDOW_BYTES / 4 && !this.destroyed) return;
    this.#window = WINDOW_BYTES;
    if (bytes > 0) this.#sidecar.tell('grant', { child: this.#child, stream: this.#stream, bytes });
  }

  /** Holds the event loop until its end has come, but not while it is full and nobody reads, as in Node. */
  ref() {
    this.#isRef = true;
    this.#holdOrRelease();
    return this;
  }

  unref() {
    this.#isRef = false;
    this.#holdOrRelease();
    return this;
  }

  #holdOrRelease() {
    const mustHold = this.#isRef && this.#isWanted && this.isOpen;
    if (mustHold === this.#isHolding) return;
    this.#isHolding = mustHold;
    if (mustHold) this.#sidecar.hold();
    else this.#sidecar.release();
  }
}

/** Input of a child. A write is done when the child's pipe has taken it. */
export class ChildInput extends Writable {
  #sidecar;
  #child;
  #isToldClosed = false;

  /** Ends the write under way. */
  #finish = () => {};

  /** How many bytes the child's pipe has taken. */
  bytesWritten = 0;

  constructor(sidecar, child) {
    super({ highWaterMark: 64 * 1024, decodeStrings: true });
    this.#sidecar = sidecar;
    this.#child = child;
  }

  _write(chunk, _encoding, callback) {
    this.#begin(chunk, callback);
  }

  _writev(chunks, callback) {
    this.#begin(Buffer.concat(chunks.map(({ chunk }) => chunk)), callback);
  }

  #begin(bytes, callback) {
    this.#finish = (error) => {
      this.#finish = () => {};
      callback(error);
    };
    // A callback of the host that throws is an uncaught exception, and no rejection.
    this.#send(bytes).then(() => safely(() => this.#finish()), (error) => safely(() => this.#finish(error)));
  }

  async #send(bytes) {
    for (let from = 0; from < bytes.length; from += WRITE_BYTES_MAX) {
      const part = bytes.subarray(from, from + WRITE_BYTES_MAX);
      const params = isUtf8(part)
        ? { child: this.#child, text: part.toString() }
        : { child: this.#child, base64: part.toString('base64') };
      try {
        await this.#sidecar.request('write', params);
        this.bytesWritten += part.length;
      } catch (error) {
        throw writeError(error);
      }
    }
  }

  _final(callback) {
    // Order: it is finished at once, as in Node. After an answer the child could have exited, and output of which the
    // host reads only when it has written all input would have been thrown away.
    this.#tellClosed();
    callback();
  }

  _destroy(error, callback) {
    this.#tellClosed();
    // A write under way has its end now: its answer can come after the event `close` of the child.
    this.#finish(error ?? brokenPipe());
    callback(error);
  }

  #tellClosed() {
    if (!this.#isToldClosed) this.#sidecar.tell('closeStdin', { child: this.#child });
    this.#isToldClosed = true;
  }

  ref() {
    return this;
  }

  unref() {
    return this;
  }
}

const brokenPipe = (cause) => {
  const more = cause === undefined ? undefined : { cause };
  return Object.assign(new Error('write EPIPE', more), { errno: -32, code: 'EPIPE', syscall: 'write' });
};

const writeError = (error) =>
  ['stdinBroken', 'stdinClosed', 'stopping', 'unknownChild'].includes(error.kind) ? brokenPipe(error) : error;
