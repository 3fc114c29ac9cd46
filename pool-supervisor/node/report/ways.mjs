// The ways to start a child and to end its tree that the report compares.

import { execFile, spawn } from 'node:child_process';

import { Supervisor } from '../index.mjs';

const delay = (millis) => new Promise((resolve) => setTimeout(resolve, millis));
const hasExited = (child) => child.exitCode !== null || child.signalCode !== null;
const once = (child, event) => new Promise((resolve) => child.once(event, resolve));

/** Sends a signal to a process, or with a negative number to a group. Says whether it was sent. */
const send = (pid, signal) => {
  try {
    return process.kill(pid, signal);
  } catch {
    return false;
  }
};

const childrenOf = (pid) =>
  new Promise((resolve) => {
    execFile('pgrep', ['-P', String(pid)], (_, stdout) => resolve(String(stdout ?? '').split('\n').filter(Boolean).map(Number)));
  });

const descendantsOf = async (pid) => {
  const found = [];
  for (const child of await childrenOf(pid)) found.push(child, ...(await descendantsOf(child)));
  return found;
};

/** Written after the description of a well-known agent's function: a list once, SIGTERM, 500 ms, SIGKILL. */
const terminateTree = () => {
  const start = (command, args, { env, stdio }) => {
    const child = spawn(command, args, { env, stdio, detached: true });
    return handle(child, async (exited) => {
      const listed = await descendantsOf(child.pid);
      const reachedGroup = send(-child.pid, 'SIGTERM');
      if (!reachedGroup) for (const pid of [child.pid, ...listed]) send(pid, 'SIGTERM');
      await Promise.race([exited, delay(500)]);
      if (hasExited(child) && listed.every((pid) => !send(pid, 0))) return;
      if (!hasExited(child)) send(reachedGroup ? -child.pid : child.pid, 'SIGKILL');
      for (const pid of listed) send(pid, 'SIGKILL');
      await Promise.race([exited, delay(500)]);
    });
  };
  return { start };
};

const handle = (child, end) => {
  const exited = once(child, 'exit');
  const closed = once(child, 'close');
  child.on('error', () => {});
  child.stdin?.on('error', () => {});
  return {
    stdin: child.stdin,
    stdout: child.stdout,
    exited,
    closed,
    kill: (signal) => child.kill(signal),
    code: () => child.exitCode,
    end: () => end(exited),
  };
};

const execa = async () => {
  const { execa: run } = await import(process.env.REPORT_BASELINES + '/node_modules/execa/index.js');
  const start = (command, args, { env, stdio }) => {
    const aborter = new AbortController();
    const child = run(command, args, {
      env,
      extendEnv: false,
      stdio,
      buffer: false,
      killDescendants: true,
      forceKillAfterDelay: 500,
      cancelSignal: aborter.signal,
      reject: false,
    });
    const node = child.nodeChildProcess ?? child;
    const one = handle(node, async () => {
      child.kill();
      await child;
    });
    return { ...one, stdin: child.stdin, stdout: child.stdout, closed: child.then(() => {}) };
  };
  return { start };
};

const treeKill = async () => {
  const { default: kill } = await import(process.env.REPORT_BASELINES + '/node_modules/tree-kill/index.js');
  const start = (command, args, { env, stdio }) => {
    const child = spawn(command, args, { env, stdio });
    return handle(child, async (exited) => {
      await new Promise((resolve) => kill(child.pid, 'SIGTERM', resolve));
      await Promise.race([exited, delay(500)]);
      await new Promise((resolve) => kill(child.pid, 'SIGKILL', resolve));
      await exited;
    });
  };
  return { start };
};

const supervisor = () => {
  const one = new Supervisor({ log: 'ignore' });
  const start = (command, args, { env, stdio }) => {
    const child = one.spawn(command, args, { env, stdio, ladder: { termGraceMs: 500 } });
    return handle(child, () => child.cancel());
  };
  return { start, close: () => one.close({ graceMs: 0 }) };
};

export const WAYS = { terminateTree, execa, 'tree-kill': treeKill, supervisor };
