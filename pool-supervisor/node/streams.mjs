// The streams of a child, with backpressure in both directions.

import { isUtf8 } from 'node:buffer';
import { Readable, Writable } from 'node:stream';

/** How many bytes may be under way beyond what the stream buffers. */
export const WINDOW_BYTES = 256 * 1024;
const WRITE_BYTES_MAX = 256 * 1024;

/** Output of a child. More is granted when its reader wants more. */
export class ChildOutput extends Readable {
  #sidecar;
  #child;
  #stream;
  #window = WINDOW_BYTES;
  #isWanted = false;
  #isHolding = false;

  /** How many bytes have come. */
  bytesRead = 0;

  constructor(sidecar, child, stream) {
    super({ highWaterMark: 64 * 1024 });
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
      return;
    }
    this.#isWanted = this.push(bytes);
    if (this.#isWanted) this.#grant();
  }

  end() {
    if (!this.destroyed) this.push(null);
  }

  _read() {
    this.#isWanted = true;
    this.#grant();
  }

  _destroy(error, callback) {
    this.#grant();
    this.unref();
    callback(error);
  }

  #grant() {
    const bytes = WINDOW_BYTES - this.#window;
    if (bytes < WINDOW_BYTES / 4 && !this.destroyed) return;
    this.#window = WINDOW_BYTES;
    if (bytes > 0) this.#sidecar.tell('grant', { child: this.#child, stream: this.#stream, bytes });
  }

  /** Holds the event loop until its end. */
  ref() {
    if (!this.#isHolding && !this.destroyed) {
      this.#isHolding = true;
      this.#sidecar.hold();
    }
    return this;
  }

  unref() {
    if (this.#isHolding) {
      this.#isHolding = false;
      this.#sidecar.release();
    }
    return this;
  }
}

/** Input of a child. A write is done when the child's pipe has taken it. */
export class ChildInput extends Writable {
  #sidecar;
  #child;

  /** How many bytes the child's pipe has taken. */
  bytesWritten = 0;

  constructor(sidecar, child) {
    super({ decodeStrings: true });
    this.#sidecar = sidecar;
    this.#child = child;
  }

  _write(chunk, _encoding, callback) {
    this.#send(chunk).then(() => callback(), callback);
  }

  _writev(chunks, callback) {
    this.#send(Buffer.concat(chunks.map(({ chunk }) => chunk))).then(() => callback(), callback);
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
    this.#sidecar.tell('closeStdin', { child: this.#child });
    callback();
  }

  _destroy(error, callback) {
    this.#sidecar.tell('closeStdin', { child: this.#child });
    callback(error);
  }

  ref() {
    return this;
  }

  unref() {
    return this;
  }
}

const writeError = (error) => {
  if (!['stdinBroken', 'stdinClosed', 'stopping', 'unknownChild'].includes(error.kind)) return error;
  return Object.assign(new Error('write EPIPE'), { errno: -32, code: 'EPIPE', syscall: 'write', cause: error });
};
