// The rows of the report: a tree of processes, what is done to it, and what a good way does.

/** These need signals, sessions or parents of Unix. Windows has no such thing. */
const UNIX_ONLY = ['M2', 'M3', 'M4', 'M5', 'M6', 'T1', 'S1', 'H2', 'H3', 'H4', 'H5', 'H6', 'H8', 'H14'];

const seconds = 'sleep 1000';
const ignorer = `trap '' TERM; ${seconds}`;

/** Ends the tree when it has said `ready` as often as it is large. */
const end = (id, what, script, ready = 1) => ({ id, what, script, ready, act: 'end' });

export const ROWS = [
  end('M1', 'child and grandchild', `sh -c 'echo ready; ${seconds}' & wait`),
  end('M2', 'grandchild ignores SIGTERM', `sh -c "trap '' TERM; echo ready; while :; do sleep 0.05; done" & wait`),
  end('M3', 're-parented, ignores SIGTERM', `sh -c "(trap '' TERM; echo ready; while :; do sleep 0.05; done) & exit"; ${seconds}`),
  end('M4', 'late fork on SIGTERM', `trap '(${ignorer}) & exit' TERM; echo ready; while :; do sleep 0.01; done`),
  end('M5', 'session of its own', `setsid sh -c 'echo ready; ${seconds}' & wait`),
  end('M6', 'session and double fork', `setsid sh -c '(echo ready; exec ${seconds}) & exit'; ${seconds}`),
  { ...end('M7', 'root gone first', `(trap '' TERM; echo ready; while :; do sleep 0.05; done) & exit 0`), act: 'endAfterExit' },
  end('M9', 'wide tree, 30 children', `i=0; while [ $i -lt 30 ]; do sh -c 'echo ready; ${seconds}' & i=$((i+1)); done; wait`, 30),
  { id: 'T1', what: 'end with a slow drain: 1 MB after SIGTERM', script: `trap 'head -c 1000000 /dev/zero; exit 0' TERM; echo ready; while :; do sleep 0.01; done`, ready: 1, act: 'end', bytes: 1_000_000 },
  { id: 'T2', what: '10 MB, then exit', script: 'head -c 10000000 /dev/zero', ready: 0, act: 'close', bytes: 10_000_000 },
  { id: 'T3', what: 'root exits, a daemon chatters into the pipe', script: `setsid sh -c 'while echo x; do sleep 0.01; done' & sleep 0.2; exit 0`, ready: 0, act: 'close' },
  { id: 'T4', what: 'consumer that does not read', script: `echo ready; (${ignorer}) & exec cat /dev/zero`, ready: 1, act: 'endUnread' },
  { id: 'W1', what: 'end during a write of 1 MB in flight', script: `echo ready; ${seconds} & wait`, ready: 1, act: 'endWhileWriting' },
  { id: 'S1', what: 'SIGINT is forwarded', script: `trap 'exit 7' INT; echo ready; while :; do sleep 0.01; done`, ready: 1, act: 'signal' },
  ...[
    ['H1', 'host killed: child and grandchild', 'M1'],
    ['H2', 'host killed: grandchild ignores SIGTERM', 'M2'],
    ['H3', 'host killed: re-parented', 'M3'],
    ['H4', 'host killed: late fork on SIGTERM', 'M4'],
    ['H5', 'host killed: session of its own', 'M5'],
    ['H6', 'host killed: session and double fork', 'M6'],
    ['H7', 'host killed: root gone first', 'M7'],
    ['H8', 'host killed: slow drain', 'T1'],
    ['H9', 'host killed: wide tree, 30 children', 'M9'],
    ['H10', 'host killed: output that is not read', 'T4', { isUnread: true }],
    ['H11', 'host killed: write of 1 MB in flight', 'W1', { isWriting: true }],
    ['H13', 'host killed: 10 MB of output under way', 'T2', { script: 'echo ready; exec head -c 10000000 /dev/zero', ready: 1, isUnread: true }],
    ['H14', 'host killed: ends at SIGINT only', 'S1'],
  ].map(([id, what, like, more]) => ({ id, what, like, act: 'killHost', ...more })),
  { ...end('H12', 'host killed: a daemon chatters into the pipe', `setsid sh -c 'echo ready; while echo x; do sleep 0.01; done' & ${seconds}`), act: 'killHost' },
];

for (const row of ROWS) {
  row.isUnixOnly = UNIX_ONLY.includes(row.id);
  const like = ROWS.find(({ id }) => id === row.like);
  if (like) Object.assign(row, { script: row.script ?? like.script, ready: row.ready ?? like.ready });
}
