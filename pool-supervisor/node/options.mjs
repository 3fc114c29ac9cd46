// The arguments of `spawn`, checked and brought into one form, as Node does it.

import { constants } from 'node:os';
import { fileURLToPath } from 'node:url';

import { rangeError, typeError, unsupported, valueError } from './errors.mjs';

const noNul = (name, text) => {
  if (text.includes('\0')) throw valueError(name, 'must be a string without null bytes', text);
};

const optional = (options, name, type) => {
  const value = options[name];
  if (value !== undefined && value !== null && typeof value !== type) {
    throw typeError(`options.${name}`, `of type ${type}`, value);
  }
};

/** The name of a signal, by its name or number. */
export const signalName = (signal) => {
  const known = constants.signals;
  if (typeof signal === 'number') {
    const name = Object.keys(known).find((one) => known[one] === signal);
    if (name !== undefined) return name;
  } else if (typeof signal === 'string' && signal.toUpperCase() in known) {
    return signal.toUpperCase();
  } else if (typeof signal !== 'string') {
    throw typeError('signal', 'one of type string or number', signal);
  }
  const error = new TypeError(`Unknown signal: ${signal}`);
  error.code = 'ERR_UNKNOWN_SIGNAL';
  throw error;
};

const stdioOf = (stdio = 'pipe') => {
  const all = typeof stdio === 'string' ? [stdio, stdio, stdio] : stdio;
  if (typeof stdio === 'string' && !['pipe', 'ignore', 'inherit', 'overlapped'].includes(stdio)) {
    if (stdio === 'ipc') throw unsupported('stdio "ipc"', 'use stdin and stdout');
    throw valueError('stdio', 'is invalid', stdio);
  }
  if (!Array.isArray(all)) throw valueError('stdio', 'is invalid', stdio);
  const modes = all.map((mode, place) => {
    if (mode === undefined || mode === null) return place < 3 ? 'pipe' : 'ignore';
    if (mode === 'overlapped') return 'pipe';
    if (mode === 'pipe' || mode === 'ignore' || mode === 'inherit') return mode;
    if (mode === 'ipc') throw unsupported('stdio "ipc"', 'use stdin and stdout');
    if (mode === place || mode === [process.stdin, process.stdout, process.stderr][place]) return 'inherit';
    if (typeof mode === 'number' || typeof mode === 'object') {
      throw unsupported('a descriptor or stream as stdio', 'use "pipe" and pipe it');
    }
    throw valueError('stdio', 'is invalid', mode);
  });
  while (modes.length < 3) modes.push('pipe');
  if (modes.slice(3).some((mode) => mode !== 'ignore')) {
    throw unsupported('a descriptor from 3 on', 'use stdin, stdout and stderr');
  }
  return modes;
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
  if (options.cwd !== undefined && options.cwd !== null && typeof options.cwd !== 'string' && !(options.cwd instanceof URL)) {
    throw typeError('options.cwd', 'of type string or an instance of URL', options.cwd);
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
  if (killSignal !== undefined && killSignal !== null) signalName(killSignal);
  if (options.env !== undefined && options.env !== null && typeof options.env !== 'object') {
    throw typeError('options.env', 'of type object', options.env);
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
  else if (options === null || typeof options !== 'object') throw typeError('options', 'of type object', options);
  args = args.map((arg) => `${arg}`);
  args.forEach((arg, place) => noNul(`args[${place}]`, arg));
  check(options);
  const cwd = options.cwd instanceof URL ? fileURLToPath(options.cwd) : options.cwd;
  if (cwd) noNul('options.cwd', cwd);
  if (options.argv0) noNul('options.argv0', options.argv0);
  if (options.shell) {
    const command = [file, ...args].join(' ');
    file = typeof options.shell === 'string' ? options.shell : '/bin/sh';
    args = ['-c', command];
  }
  return {
    ...options,
    file,
    args,
    cwd,
    argv0: options.argv0 ?? file,
    env: envOf(options.env ?? process.env),
    modes: stdioOf(options.stdio ?? undefined),
    killSignal: options.killSignal ?? 'SIGTERM',
  };
};
