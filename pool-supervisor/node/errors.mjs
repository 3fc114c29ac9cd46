// Errors with codes. Those that Node throws itself have Node's codes.

import { constants } from 'node:os';
import { inspect } from 'node:util';

/** A listener that throws must not keep others from what is theirs. The error becomes an uncaught exception, as for Node. */
export const safely = (one) => {
  try {
    one();
  } catch (error) {
    process.nextTick(() => {
      throw error;
    });
  }
};

/** What the sidecar refuses, or its end. `kind` says which. */
export class SupervisorError extends Error {
  constructor(message, code, kind) {
    super(message);
    this.name = 'SupervisorError';
    this.code = code;
    this.kind = kind;
  }
}

export const unsupported = (what, instead) =>
  new SupervisorError(`${what} is not supported by pool-supervisor: ${instead}`, 'ERR_SUPERVISOR_UNSUPPORTED', 'unsupported');

export const gone = (why) =>
  new SupervisorError(`the supervisor has gone (${why}); its children are ended by its guardian`, 'ERR_SUPERVISOR_GONE', 'gone');

/** What is as true of a child as of the sidecar, so that each child has the error that Node would give it. */
const SHORTAGES = ['EAGAIN', 'EMFILE', 'ENFILE'];

/** There is no sidecar. */
export const notStarted = (error) => {
  const failure = new SupervisorError(
    `the supervisor cannot be started: ${error.message}. Its program is that of the option \`program\`, of the variable POOL_SUPERVISOR, of this package, or of PATH`,
    'ERR_SUPERVISOR_GONE',
    'gone',
  );
  const fault = { message: failure.message, data: { errno: error.code } };
  return SHORTAGES.includes(error.code) ? Object.assign(failure, { fault }) : failure;
};

/** The sidecar refused its first request, so that it started nothing. */
export const refusedStart = (error) =>
  new SupervisorError(`the supervisor cannot be used: ${error.message}`, 'ERR_SUPERVISOR_REFUSED', error.kind);

/** A wrong value as Node's own errors show it. */
const shown = (value) => {
  if (value === null || value === undefined) return `${value}`;
  if (typeof value === 'function') return `function ${value.name}`;
  if (typeof value === 'object') {
    return value.constructor?.name ? `an instance of ${value.constructor.name}` : inspect(value, { depth: -1 });
  }
  const text = inspect(value, { colors: false });
  return `type ${typeof value} (${text.length > 28 ? `${text.slice(0, 25)}...` : text})`;
};

/** What a name that Node checks is called: options have a point in their name. */
const kindOf = (name) => (name.includes('.') ? 'property' : 'argument');

export const typeError = (name, expected, value) => {
  const error = new TypeError(`The "${name}" ${kindOf(name)} must be ${expected}. Received ${shown(value)}`);
  error.code = 'ERR_INVALID_ARG_TYPE';
  return error;
};

export const valueError = (name, why, value) => {
  const text = inspect(value);
  const error = new TypeError(`The ${kindOf(name)} '${name}' ${why}. Received ${text.length > 128 ? `${text.slice(0, 128)}...` : text}`);
  error.code = 'ERR_INVALID_ARG_VALUE';
  return error;
};

/** An entry of `stdio` that only the synchronous functions of Node take. */
export const forkInputError = (value) => {
  const error = new TypeError(`Asynchronous forks do not support Buffer, TypedArray, DataView or string input: ${inspect(value)}`);
  error.code = 'ERR_INVALID_SYNC_FORK_INPUT';
  return error;
};

export const rangeError = (name, why, value) => {
  const error = new RangeError(`The value of "${name}" is out of range. It must be ${why}. Received ${inspect(value)}`);
  error.code = 'ERR_OUT_OF_RANGE';
  return error;
};

export const abortError = (reason) => {
  const error = new Error('The operation was aborted', { cause: reason });
  error.name = 'AbortError';
  error.code = 'ABORT_ERR';
  return error;
};

/** An error of the system as Node makes them, from an answer of the sidecar. */
export const systemError = (fault, syscall, more) => {
  const code = fault.data?.errno;
  if (code === undefined) return new SupervisorError(fault.message, 'ERR_SUPERVISOR_REFUSED', fault.data?.kind);
  const error = new Error(`${syscall} ${code}`);
  return Object.assign(error, { errno: -constants.errno[code], code, syscall, ...more, reason: fault.message });
};
