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
    if (this.#inputs.size === 0) this.#source.on('data', this.#onData).on('end', this.#onEnd).on('close', this.#onEnd);
    this.#inputs.add(input);
    input.once('close', () => this.#remove(input));
    if (this.#full.size === 0) this.#source.resume();
  }

  #onData = (bytes) => {
    for (const input of this.#inputs) {
      if (input.destroyed || input.write(bytes)) continue;
      // Also if the host has resumed it meanwhile.
      this.#source.pause();
      if (this.#full.has(input)) continue;
      this.#full.add(input);
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
    this.#source.off('data', this.#onData).off('end', this.#onEnd).off('close', this.#onEnd);
    // Otherwise it would hold the event loop; but the host may read it, too.
    if (this.#source.listenerCount('data') === 0 && this.#source.listenerCount('readable') === 0) this.#source.pause();
  }
}

/** The outputs of children that one stream of the host takes. */
class SharedDestination {
  #destination;
  #isOwn;
  #pours = new Set();
  #isGuarded = false;

  constructor(destination, isOwn) {
    this.#destination = destination;
    this.#isOwn = isOwn;
  }

  add(output, onDone) {
    if (this.#pours.size === 0) this.#destination.on('close', this.#onClose);
    const pour = { output, isWriting: false, onDone };
    this.#pours.add(pour);
    output.once('close', () => this.#check(pour));
    output.on('data', (bytes) => {
      output.pause();
      pour.isWriting = true;
      this.#destination.write(bytes, (error) => {
        pour.isWriting = false;
        if (error) this.#failed(output);
        else output.resume();
        this.#check(pour);
      });
    });
  }

  /** The child loses its output, and the host loses nothing, as for Node. */
  #failed(output) {
    output.destroy();
    if (this.#isGuarded) return;
    // The stream emits the error after this. The host has written nothing, and may have no listener.
    this.#isGuarded = true;
    this.#destination.once('error', () => (this.#isGuarded = false));
  }

  /** A write under way may have no end then. */
  #onClose = () => {
    for (const pour of this.#pours) {
      pour.isWriting = false;
      pour.output.destroy();
      this.#check(pour);
    }
  };

  /** Order: the output can have ended before its last write. That of one that was destroyed is not waited for. */
  #check(pour) {
    const { output, isWriting } = pour;
    if ((isWriting && output.readableEnded) || !output.closed || !this.#pours.delete(pour)) return;
    if (this.#pours.size === 0) {
      this.#destination.off('close', this.#onClose);
      if (this.#isOwn) this.#destination.end();
    }
    pour.onDone();
  }
}

const sources = new WeakMap();
const destinations = new WeakMap();

/** Writes to the input of a child what a stream of the host reads. An own stream ends with it. */
export const drawFrom = ({ stream, isOwn }, input) => {
  if (!sources.has(stream)) sources.set(stream, new SharedSource(stream));
  sources.get(stream).add(input);
  if (isOwn) input.once('close', () => stream.destroy());
};

/** Writes output of a child to a stream of the host. `onDone` is called after its last byte was written. An own stream ends with it. */
export const pourInto = (output, { stream, isOwn }, onDone) => {
  if (!destinations.has(stream)) destinations.set(stream, new SharedDestination(stream, isOwn));
  destinations.get(stream).add(output, onDone);
};
