// What a child has as stdin, stdout and stderr: pipes, nothing, or streams of the host that are piped.

import { createReadStream, createWriteStream, fstatSync, openSync, readFileSync } from 'node:fs';
import { isatty } from 'node:tty';

import { forkInputError, unsupported, valueError } from './errors.mjs';

const hostStream = (place) => [process.stdin, process.stdout, process.stderr][place];

/** Where the next read or write of a file happens; undefined where the system does not tell. */
const positionOf = (fd) => {
  try {
    return Number(/^pos:\s*(\d+)/m.exec(readFileSync(`/proc/self/fdinfo/${fd}`, 'utf8'))[1]);
  } catch {
    return undefined;
  }
};

/**
 * A stream of its own for a descriptor of the host, so that the host can close its own at once, as it can for Node.
 * Output is appended.
 */
const reopened = (fd, place) => {
  const facts = fstatSync(fd);
  // Opening a pipe can block, a socket cannot be opened, and reading a terminal would hold a thread of Node's.
  const isPossible = facts.isFile() || (facts.isCharacterDevice() && !(place === 0 && isatty(fd)));
  if (!isPossible || process.platform === 'win32') {
    throw unsupported('a descriptor of a pipe or socket, or of a terminal as stdin,', 'use "pipe" and pipe it');
  }
  if (place > 0) return owned(createWriteStream('', { fd: openSync(`/dev/fd/${fd}`, 'a') }));
  const start = facts.isFile() ? positionOf(fd) : undefined;
  return owned(createReadStream('', { fd: openSync(`/dev/fd/${fd}`, 'r'), start }));
};

/** The host does not know it, so that nobody else listens for its errors. */
const owned = (stream) => ({ stream: stream.on('error', () => {}), isOwn: true });

const numbered = (fd, place) => {
  if (place === 0 ? fd === 0 : fd === 1 || fd === 2) return { stream: hostStream(fd), isOwn: false };
  return reopened(fd, place);
};

const isStream = (value, place) =>
  typeof value === 'object' && typeof value[place === 0 ? 'pipe' : 'write'] === 'function' && typeof value.on === 'function';

const checked = (mode, place) => {
  if (mode === undefined || mode === null || mode === -1) return place < 3 ? 'pipe' : 'ignore';
  if (mode === 'overlapped') return 'pipe';
  if (mode === 'pipe' || mode === 'ignore' || mode === 'inherit') return mode;
  if (mode === 'ipc') throw unsupported('stdio "ipc"', 'use stdin and stdout');
  if (typeof mode === 'string' || ArrayBuffer.isView(mode)) throw forkInputError(mode);
  if (Number.isInteger(mode) && mode >= 0) return mode;
  if (isStream(mode, place)) return mode;
  throw valueError('stdio', 'is invalid', mode);
};

/**
 * One entry for each descriptor: `pipe`, `ignore`, or a stream of the host with whether it is to be closed after the
 * child.
 */
export const stdioOf = (stdio) => {
  const all = typeof stdio === 'string' ? [stdio, stdio, stdio] : stdio;
  if (typeof stdio === 'string' && !['pipe', 'ignore', 'inherit', 'overlapped'].includes(stdio)) {
    if (stdio === 'ipc') throw unsupported('stdio "ipc"', 'use stdin and stdout');
    throw valueError('stdio', 'is invalid', stdio);
  }
  if (!Array.isArray(all)) throw valueError('stdio', 'is invalid', stdio);
  // Order: all are checked before one is opened.
  const modes = Array.from(all, checked);
  while (modes.length < 3) modes.push('pipe');
  if (modes.slice(3).some((mode) => mode !== 'ignore')) {
    throw unsupported('a descriptor from 3 on', 'use stdin, stdout and stderr');
  }
  return modes;
};

/** The streams of the host among what `stdioOf` returned. stdout and stderr share a descriptor that is given twice. */
export const openStdio = (modes) => {
  const opened = [];
  const open = (mode, place) => {
    if (mode === 'pipe' || mode === 'ignore') return mode;
    if (mode === 'inherit') return { stream: hostStream(place), isOwn: false };
    if (typeof mode === 'object') return { stream: mode, isOwn: false };
    if (place === 2 && mode === modes[1]) return opened[1];
    return numbered(mode, place);
  };
  try {
    for (const [place, mode] of modes.entries()) opened.push(open(mode, place));
  } catch (error) {
    for (const { stream, isOwn } of opened) if (isOwn) stream.destroy();
    throw error;
  }
  return opened;
};
