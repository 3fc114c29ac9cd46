// Starts a command and ends its tree in the way of one baseline.
//
//   node end_tree.mjs METHOD MODE COMMAND [ARGUMENT...]
//
// METHOD: script-leader, script-plain, execa or tree-kill.
// MODE:   end    end the tree
//         stop   end the tree, unless the root has exited
//         run    wait for the command and its output
//         abort  the same, and abort it at once
//
// It writes `started` when the command runs and `exited` when the root has exited. After a line on
// stdin it acts, and writes `ended` when the call has returned.

import { execFile, spawn } from 'node:child_process';
import { createInterface } from 'node:readline';

const [method, mode, command, ...args] = process.argv.slice(2);
// A pipe for stdout, as each way has by default, and as `pool-stdio` has. Without one execa takes the exit of the root
// for the end, and does not kill what is left.
const stdio = ['ignore', 'pipe', 'inherit'];

const say = (line) => process.stdout.write(`${line}\n`);

const delay = (millis) => new Promise((resolve) => setTimeout(resolve, millis));

const hasExited = (child) => child.exitCode !== null || child.signalCode !== null;

/** Sends a signal to a process, or with a negative number to a group. Says whether it was sent. */
const send = (pid, signal) => {
  try {
    process.kill(pid, signal);
    return true;
  } catch {
    return false;
  }
};

const childrenOf = (pid) =>
  new Promise((resolve) => {
    execFile('pgrep', ['-P', String(pid)], (_, stdout) => {
      resolve(String(stdout ?? '').split('\n').filter(Boolean).map(Number));
    });
  });

const descendantsOf = async (pid) => {
  const found = [];
  for (const child of await childrenOf(pid)) {
    found.push(child, ...(await descendantsOf(child)));
  }
  return found;
};

/**
 * What an agent that starts its tools as children does: list the descendants once, SIGTERM to the
 * group or to all of the list, half a second of grace, SIGKILL for what is left of the list.
 */
const terminateTree = async (child, exited, isLeader) => {
  const listed = await descendantsOf(child.pid);
  const reachedGroup = isLeader && send(-child.pid, 'SIGTERM');
  if (!reachedGroup) {
    for (const pid of [child.pid, ...listed]) send(pid, 'SIGTERM');
  }
  await Promise.race([exited, delay(500)]);
  if (hasExited(child) && listed.every((pid) => !send(pid, 0))) return;
  if (!hasExited(child)) send(reachedGroup ? -child.pid : child.pid, 'SIGKILL');
  for (const pid of listed) send(pid, 'SIGKILL');
  await Promise.race([exited, delay(500)]);
};

const script = (isLeader) => {
  const child = spawn(command, args, { detached: isLeader, stdio });
  const exited = new Promise((resolve) => child.once('exit', resolve));
  const closed = new Promise((resolve) => child.once('close', resolve));
  child.stdout?.resume();
  return {
    exited,
    end: () => terminateTree(child, exited, isLeader),
    stop: async () => {
      if (!hasExited(child)) await terminateTree(child, exited, isLeader);
    },
    run: () => closed,
    abort: async () => {
      await terminateTree(child, exited, isLeader);
      await closed;
    },
  };
};

const execa = async () => {
  const { execa: start } = await import('execa');
  const aborter = new AbortController();
  const child = start(command, args, {
    killDescendants: true,
    forceKillAfterDelay: 500,
    cancelSignal: aborter.signal,
    reject: false,
    stdio,
  });
  const end = async () => {
    child.kill();
    await child;
  };
  return {
    exited: new Promise((resolve) => child.nodeChildProcess.once('exit', resolve)),
    end,
    stop: end,
    run: () => child,
    abort: async () => {
      aborter.abort();
      await child;
    },
  };
};

const treeKill = async () => {
  const { default: kill } = await import('tree-kill');
  const child = spawn(command, args, { stdio });
  const exited = new Promise((resolve) => child.once('exit', resolve));
  const closed = new Promise((resolve) => child.once('close', resolve));
  child.stdout?.resume();
  const end = async () => {
    await new Promise((resolve) => kill(child.pid, 'SIGKILL', resolve));
    await exited;
  };
  return {
    exited,
    end,
    stop: end,
    run: () => closed,
    abort: async () => {
      await end();
      await closed;
    },
  };
};

const methods = {
  'script-leader': () => script(true),
  'script-plain': () => script(false),
  execa,
  'tree-kill': treeKill,
};

const tree = await methods[method]();
say('started');
tree.exited.then(() => say('exited'));
createInterface({ input: process.stdin })
  .once('line', async () => {
    await tree[mode]();
    say('ended');
  })
  .once('close', () => process.exit(0));
