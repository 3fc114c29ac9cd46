// The arguments of `spawn`, checked and brought into one form, as Node does it.

import { constants } from 'node:os';
import { isAbsolute, sep } from 'node:path';
import { fileURLToPath } from 'node:url';
import { inspect } from 'node:util';

import { rangeError, typeError, unsupported, valueError } from './errors.mjs';
import { stdioOf } from './stdio.mjs';

const noNul = (name, text) => {
  if (text.includes('\0')) throw valueError(name, 'must be a string without null bytes', text);
};

const optional = (options, name, type) => {
  const value = options[name];
  if (value !== undefined && value !== null && typeof value !== type) {
    throw typeError(`options.${name}`, `of type ${type}`, value);
  }
};

/** The name of a signal, by one of its names or its number. */
export const signalName = (signal) => {
  const known = constants.signals;
  const number = typeof signal === 'string' ? known[signal.toUpperCase()] : signal;
  // A signal can have two names: the first is the one that the supervisor knows.
  const name = Object.keys(known).find((one) => known[one] === number);
  if (typeof number === 'number' && name !== undefined) return name;
  const error = new TypeError(`Unknown signal: ${typeof signal === 'string' ? signal : inspect(signal)}`);
  error.code = 'ERR_UNKNOWN_SIGNAL';
  throw error;
};

const envOf = (env) => {
  const all = {};
  // Inherited properties count, as they do for Node.
  for (const name in env) {
    if (env[name] === undefined) continue;
    const value = `${env[name]}`;
    noNul(`options.env['${name}']`, name + value);
    all[name] = value;
  }
  return all;
};

const check = (options) => {
  const { cwd } = options;
  if (cwd !== undefined && cwd !== null && typeof cwd !== 'string' && !(cwd instanceof URL) && !(cwd instanceof Uint8Array)) {
    throw typeError('options.cwd', 'of type string or an instance of Buffer or URL', cwd);
  }
  optional(options, 'detached', 'boolean');
  if (options.detached) throw unsupported('detached', 'use scope: "root" to leave what a child starts alone');
  for (const name of ['uid', 'gid']) {
    if (options[name] === undefined || options[name] === null) continue;
    if (!Number.isInteger(options[name])) throw typeError(`options.${name}`, 'int32', options[name]);
    throw unsupported(name, 'start the host as that user');
  }
  const { shell } = options;
  if (shell !== undefined && shell !== null && typeof shell !== 'boolean' && typeof shell !== 'string') {
    throw typeError('options.shell', 'of type boolean or string', shell);
  }
  if (shell) noNul('options.shell', String(shell));
  optional(options, 'argv0', 'string');
  optional(options, 'windowsHide', 'boolean');
  optional(options, 'windowsVerbatimArguments', 'boolean');
  const { signal, timeout, killSignal } = options;
  if (signal !== undefined && (signal === null || typeof signal !== 'object' || !('aborted' in signal))) {
    throw typeError('options.signal', 'an instance of AbortSignal', signal);
  }
  if (timeout !== undefined && timeout !== null && !(Number.isInteger(timeout) && timeout >= 0)) {
    throw rangeError('timeout', 'an unsigned integer', timeout);
  }
  if (killSignal !== undefined && killSignal !== null) {
    if (typeof killSignal !== 'string' && typeof killSignal !== 'number') {
      throw typeError('options.killSignal', 'one of type string or number', killSignal);
    }
    signalName(killSignal);
  }
  if (![undefined, 'json', 'advanced'].includes(options.serialization)) {
    throw valueError('options.serialization', "must be one of: undefined, 'json', 'advanced'", options.serialization);
  }
};

/** What `run` takes besides the options of `spawn`. */
export const checkRun = ({ input, maxBytes, encoding }) => {
  if (input !== undefined && input !== null && typeof input !== 'string' && !(input instanceof Uint8Array)) {
    throw typeError('options.input', 'of type string or an instance of Uint8Array', input);
  }
  if (typeof maxBytes !== 'number') throw typeError('options.maxBytes', 'of type number', maxBytes);
  if (!(maxBytes >= 0)) throw rangeError('options.maxBytes', '>= 0', maxBytes);
  if (encoding !== 'buffer' && !Buffer.isEncoding(encoding)) throw valueError('options.encoding', 'is no encoding', encoding);
};

/** The folder of this program. One that was removed has no path, and is still that of its children, as for Node. */
const ownFolder = () => {
  try {
    return process.cwd();
  } catch {
    return `/proc/${process.pid}/cwd`;
  }
};

/** The folder in which the child starts. The supervisor has a folder of its own, so that this one is absolute. */
const folderOf = ({ cwd }) => {
  const path = cwd instanceof URL ? fileURLToPath(cwd) : cwd instanceof Uint8Array ? Buffer.from(cwd).toString() : cwd;
  if (!path) return ownFolder();
  noNul('options.cwd', path);
  // Not resolved: `link/..` is what the system makes of it.
  return isAbsolute(path) ? path : `${ownFolder()}${sep}${path}`;
};

/** What is to be started. */
export const normalize = (file, args, options) => {
  if (typeof file !== 'string') throw typeError('file', 'of type string', file);
  if (file === '') throw valueError('file', 'cannot be empty', file);
  noNul('file', file);
  if (args === undefined || args === null) args = [];
  else if (!Array.isArray(args)) {
    if (typeof args !== 'object') throw typeError('args', 'of type object', args);
    [args, options] = [[], args];
  }
  if (options === undefined) options = {};
  else if (options === null || typeof options !== 'object' || Array.isArray(options)) throw typeError('options', 'of type object', options);
  args = Array.from(args);
  args.forEach((arg, place) => typeof arg === 'string' && noNul(`args[${place}]`, arg));
  check(options);
  const cwd = folderOf(options);
  if (options.argv0) noNul('options.argv0', options.argv0);
  if (options.shell) {
    const command = [file, ...args].join(' ');
    file = typeof options.shell === 'string' ? options.shell : '/bin/sh';
    args = ['-c', command];
  }
  const argv = [file, ...args.map((arg) => `${arg}`)];
  const env = envOf(options.env || process.env);
  return {
    ...options,
    file,
    args,
    argv,
    cwd,
    argv0: options.argv0 ?? file,
    env,
    killSignal: options.killSignal ?? 'SIGTERM',
    modes: stdioOf(options.stdio || 'pipe'),
  };
};
