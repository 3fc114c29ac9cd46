// What the tests of the client share.

import { execFile } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

import { Supervisor } from '../index.mjs';

export const index = fileURLToPath(new URL('../index.mjs', import.meta.url));
export const closed = (child) => new Promise((resolve) => child.once('close', (...args) => resolve(args)));
export const first = (stream) => new Promise((resolve) => stream.once('data', (chunk) => resolve(String(chunk))));

export const lives = (pid) => {
  try {
    return !readFileSync(`/proc/${pid}/stat`, 'utf8').includes(') Z ');
  } catch {
    return false;
  }
};

/** A test with a sidecar of its own. */
export const withSupervisor = (name, act) =>
  test(name, { timeout: 60_000 }, async () => {
    const supervisor = new Supervisor();
    try {
      await act(supervisor);
    } finally {
      await supervisor.close({ graceMs: 0 });
    }
  });

/** A program that is no supervisor, or one that does as it is told here. */
export const withProgram = async (text, act) => {
  const folder = mkdtempSync(join(tmpdir(), 'pool-supervisor-'));
  try {
    const program = join(folder, 'program');
    writeFileSync(program, text, { mode: 0o755 });
    return await act(new Supervisor({ program, log: 'ignore' }), program);
  } finally {
    rmSync(folder, { recursive: true });
  }
};

/** Runs a host of its own. */
export const script = (text) =>
  promisify(execFile)(process.execPath, ['--input-type=module', '-e', `import { spawn, run, close, Supervisor } from ${JSON.stringify(index)};\n${text}`], { timeout: 50_000 });
