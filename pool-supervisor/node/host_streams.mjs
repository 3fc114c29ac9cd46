// Streams of the host that children have as their stdio. Any number of children can share one: there is no listener for
// each child, since Node warns of more than ten.

/** The inputs of children that get what one stream of the host reads. Each of them gets all of it. */
class SharedSource {
  #source;
  #inputs = new Set();
  #full = new Set();

  constructor(source) {
    this.#source = source;
  }

  add(input) {
    if (this.#source.readableEnded || this.#source.destroyed) {
      input.end();
      return;
    }
    if (this.#inputs.size === 0) this.#source.on('data', this.#onData).on('end', this.#onEnd);
    this.#inputs.add(input);
    input.once('close', () => this.#remove(input));
    this.#source.resume();
  }

  #onData = (bytes) => {
    for (const input of this.#inputs) {
      if (input.destroyed || input.write(bytes) || this.#full.has(input)) continue;
      this.#full.add(input);
      this.#source.pause();
      input.once('drain', () => this.#drained(input));
    }
  };

  #onEnd = () => {
    for (const input of this.#inputs) input.end();
  };

  #drained(input) {
    if (this.#full.delete(input) && this.#full.size === 0) this.#source.resume();
  }

  #remove(input) {
    this.#inputs.delete(input);
    this.#drained(input);
    if (this.#inputs.size > 0) return;
    this.#source.off('data', this.#onData).off('end', this.#onEnd);
    // Otherwise it would hold the event loop; but the host may read it, too.
    if (this.#source.listenerCount('data') === 0 && this.#source.listenerCount('readable') === 0) this.#source.pause();
  }
}

const sources = new WeakMap();

/** Writes to the input of a child what a stream of the host reads. */
export const drawFrom = (source, input) => {
  if (!sources.has(source)) sources.set(source, new SharedSource(source));
  sources.get(source).add(input);
};

/** Writes output of a child to a stream of the host. It ends after its last byte was written. */
export const pourInto = (output, destination) => {
  let isBroken = false;
  output.on('data', (bytes) => {
    // What cannot be written is thrown away, so that the child can go on.
    if (isBroken) return;
    output.pause();
    destination.write(bytes, (error) => {
      isBroken = Boolean(error);
      output.resume();
    });
  });
};
