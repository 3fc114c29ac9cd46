// What the sidecar costs: time and memory.

import { execFileSync, spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { loadavg } from 'node:os';

import { Supervisor } from '../index.mjs';

const median = (values) => values.sort((a, b) => a - b)[Math.floor(values.length / 2)];
const fixed = (value) => value.toFixed(1);
const closed = (child) => new Promise((resolve) => child.once('close', resolve));

const timed = async (act) => {
  const begin = performance.now();
  await act();
  return performance.now() - begin;
};

/** Until the first byte of a program's answer. */
const startTime = (program, input) =>
  timed(async () => {
    const child = spawn(program, [], { stdio: ['pipe', 'pipe', 'ignore'] });
    if (input) {
      child.stdin.write(input);
      await new Promise((resolve) => child.stdout.once('data', resolve));
      child.stdin.end();
    } else {
      await new Promise((resolve) => child.once('exit', resolve));
    }
    child.unref();
  });

const kibibytes = (pid) => Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))[1]);

const alternately = async (rounds, acts) => {
  const times = acts.map(() => []);
  for (let round = 0; round < rounds; round += 1) {
    for (const [place, act] of acts.entries()) times[place].push(await timed(act));
  }
  return times.map(median);
};

const drained = (child) => {
  child.stdout.resume();
  return closed(child);
};

export const measure = async (program) => {
  const initialize = '{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":1}}\n';
  const starts = { ours: [], bare: [] };
  for (let round = 0; round < 21; round += 1) {
    starts.bare.push(await startTime('true'));
    starts.ours.push(await startTime(program, initialize));
  }
  const [bare, ours] = [median(starts.bare), median(starts.ours)];

  const supervisor = new Supervisor({ program, log: 'ignore' });
  const options = { scope: 'group' };
  const nothing = ['true'];
  const output = ['head', ['-c', '65536', '/dev/zero']];
  await drained(supervisor.spawn(...nothing));
  const [nodeSpawn, ourSpawn, ourTree] = await alternately(21, [
    () => drained(spawn(...nothing)),
    () => drained(supervisor.spawn(...nothing, [], options)),
    () => drained(supervisor.spawn(...nothing)),
  ]);
  const started = [];
  const untilSpawned = async (child) => {
    started.push(child);
    await new Promise((resolve) => child.once('spawn', resolve));
  };
  const [nodeStart, ourStart] = await alternately(21, [() => untilSpawned(spawn('cat')), () => untilSpawned(supervisor.spawn('cat', [], options))]);
  for (const child of started) child.stdin.end();
  await Promise.all(started.map(drained));
  const [nodeOutput, ourOutput] = await alternately(21, [() => drained(spawn(...output)), () => drained(supervisor.spawn(...output, options))]);
  const much = (byte) => ['sh', ['-c', `head -c 20000000 /dev/zero | tr '\\0' '${byte}'`]];
  const [nodeMuch, textMuch, base64Much] = await alternately(3, [
    () => drained(spawn(...much('x'))),
    () => drained(supervisor.spawn(...much('x'), options)),
    () => drained(supervisor.spawn(...much('\\377'), options)),
  ]);
  await supervisor.close();

  const fresh = new Supervisor({ program, log: 'ignore' });
  const children = [];
  await drained(fresh.spawn('true', options));
  const empty = kibibytes(fresh.pid);
  for (let count = 0; count < 256; count += 1) children.push(fresh.spawn('cat', { scope: 'group', env: { PATH: process.env.PATH } }));
  await Promise.all(children.map((child) => child.ready));
  const full = kibibytes(fresh.pid);
  for (const child of children) child.stdin.end();
  await Promise.all(children.map(drained));
  await fresh.close();
  const perChild = (full - empty) / 256;

  const row = (what, value, bar, isMet) => `| ${what} | ${value} | ${bar} | ${isMet === undefined ? '' : isMet ? 'met' : '**missed**'} |`;
  const share = base64Much / textMuch - 1;
  const against = [
    { what: 'A child that does nothing', ratio: ourTree / nodeSpawn, why: '' },
    { what: 'Much output', ratio: textMuch / nodeMuch, why: ': each byte crosses one more pipe and is parsed as JSON' },
  ];
  return {
    nodeOf: (node) => execFileSync(node, ['--version'], { encoding: 'utf8' }).trim(),
    load: `Load average when it was measured: ${loadavg()[0].toFixed(1)}.`,
    lines: [
      '## What it costs',
      '',
      'Medians. What they are compared with was run in turn with it.',
      '',
      '| figure | measured | bar | |',
      '|---|---|---|---|',
      row('start until `initialize` is answered', `${fixed(ours)} ms; \`true\` until its exit ${fixed(bare)} ms, ratio ${fixed(ours / bare)}`, '10 ms', ours <= 10),
      row('resident, one child ended before', `${empty} KiB`, '5120 KiB', empty <= 5120),
      row('resident for each of 256 children', `${fixed(perChild)} KiB`, '64 KiB', perChild <= 64),
      row('20 MB of output: child_process, text, base64', `${fixed(nodeMuch)}, ${fixed(textMuch)}, ${fixed(base64Much)} ms`, 'base64 20 % over text', share <= 0.2),
      row('p50 of a spawn, `cat` until the event `spawn`: child_process, this', `${fixed(nodeStart)}, ${fixed(ourStart)} ms`, '–'),
      row('`true` until close: child_process, this (group), this (tree)', `${fixed(nodeSpawn)}, ${fixed(ourSpawn)}, ${fixed(ourTree)} ms`, '–'),
      row('p50 of 64 KiB of output until close: child_process, this', `${fixed(nodeOutput)}, ${fixed(ourOutput)} ms`, '–'),
      '',
      '## When it is not worth it',
      '',
      ...against.filter(({ ratio }) => ratio > 1).map(({ what, ratio, why }) => `* ${what} takes ${fixed(ratio)} times as long as by child_process${why}.`),
      `* The first child waits for the start of the sidecar, ${fixed(ours)} ms. The sidecar occupies ${empty} KiB.`,
      '* A host whose children start nothing, end by themselves, and may outlive it when it is killed needs none of this.',
    ],
  };
};
