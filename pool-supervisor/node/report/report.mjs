// Plays all rows by all ways, measures the sidecar, and writes docs/supervisor-report.md.
//
//   node report.mjs PROGRAM [PAGE]
//
// PROGRAM is a release build. What it is compared with is installed by .ci/install-baselines.

import { spawn } from 'node:child_process';
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { cpus, release } from 'node:os';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

import { measure } from './figures.mjs';
import { ROWS } from './rows.mjs';

const here = (path) => fileURLToPath(new URL(path, import.meta.url));
const [program, page = here('../../../docs/supervisor-report.md')] = process.argv.slice(2);
const baselines = process.env.REPORT_BASELINES ?? here('../../../target/baselines');
const installed = `${baselines}/node_modules/.bin/node`;
const node = existsSync(installed) ? installed : process.execPath;
const names = ['terminateTree', 'execa', 'tree-kill', 'supervisor'];
const env = { ...process.env, POOL_SUPERVISOR: program, REPORT_BASELINES: baselines };
const PENDING_MILLIS = 8000;
const delay = (millis) => new Promise((resolve) => setTimeout(resolve, millis));

/**
 * The living processes of a tree, by its mark. When the host was killed, what the host itself has started counts, too: a
 * sidecar that stays is a leak.
 */
const marked = (mark, names = ['REPORT_MARK']) =>
  readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .filter((pid) => {
      try {
        const environment = readFileSync(`/proc/${pid}/environ`, 'latin1').split('\0');
        return names.some((name) => environment.includes(`${name}=${mark}`)) && !/\) [ZX] /.test(readFileSync(`/proc/${pid}/stat`, 'latin1'));
      } catch {
        return false;
      }
    });

const play = async (way, row) => {
  const mark = `${process.pid}-${way}-${row.id}`;
  const worker = spawn(node, [here('worker.mjs'), way, row.id, mark], { env: { ...env, REPORT_HOST: mark }, stdio: ['pipe', 'pipe', 'ignore'] });
  const exited = new Promise((resolve) => worker.once('exit', resolve));
  worker.stdin.on('error', () => {});
  const answered = new Promise((resolve) => {
    createInterface({ input: worker.stdout }).once('line', (line) => resolve(JSON.parse(line))).once('close', () => resolve(null));
  });
  let found = await Promise.race([answered, delay(PENDING_MILLIS).then(() => null)]);
  const counted = row.act === 'killHost' ? ['REPORT_MARK', 'REPORT_HOST'] : undefined;
  if (row.act === 'killHost' && found) {
    worker.kill('SIGKILL');
    await exited;
    const begin = performance.now();
    while (marked(mark, counted).length > 0 && performance.now() - begin < 1000) await delay(20);
    found = { millis: Math.round(performance.now() - begin), lost: null };
  } else {
    await delay(150);
  }
  const leaked = marked(mark, counted);
  worker.stdin.write('leave\n');
  await Promise.race([exited, delay(1500)]);
  worker.kill('SIGKILL');
  for (const pid of new Set([...leaked, ...marked(mark)])) {
    try {
      process.kill(Number(pid), 'SIGKILL');
    } catch {
      // It has gone.
    }
  }
  return { ...found, isPending: found === null, leaked: leaked.length };
};

/** Whether a result is as it should be. */
const passes = (row, result) =>
  !result.isPending && result.leaked === 0 && !(result.lost > 0) && !result.isWritePending && (row.act !== 'signal' || result.code === 7);

const cell = (row, result) => {
  if (result.skipped) return '–';
  const parts = [result.isPending ? `pending after ${PENDING_MILLIS / 1000} s` : `${result.millis} ms`];
  if (result.leaked > 0) parts.push(`**${result.leaked} left**`);
  if (result.lost > 0) parts.push(`**${result.lost} bytes lost**`);
  if (result.isWritePending) parts.push('**write pending**');
  return `${passes(row, result) ? 'pass' : 'FAIL'}: ${parts.join(', ')}`;
};

/** What the tests of the program found under Wine: a file for each row. */
const wineRows = here('../../../target/windows/supervisor-rows');
const wasUnderWine = existsSync(wineRows);
const underWine = (row) => {
  if (row.isUnixOnly) return '–';
  const path = `${wineRows}/${row.id}`;
  return existsSync(path) ? readFileSync(path, 'utf8').trim() : 'not run';
};

const results = [];
for (const row of ROWS) {
  const found = {};
  for (const way of names) {
    const isThere = way === 'terminateTree' || way === 'supervisor' || existsSync(`${baselines}/node_modules/${way}`);
    found[way] = isThere ? await play(way, row) : { skipped: true };
    process.stderr.write(`${row.id} ${way}: ${cell(row, found[way])}\n`);
  }
  results.push({ row, found });
}
const figures = await measure(program);

const passed = (way) => results.filter(({ row, found }) => !found[way].skipped && passes(row, found[way])).map(({ row }) => row.id);
const failed = (way) => results.filter(({ row, found }) => !found[way].skipped && !passes(row, found[way])).map(({ row }) => row.id);
const list = (ids) => (ids.length > 0 ? ids.join(', ') : 'none');
const fresh = results.filter(({ row, found }) => passes(row, found.supervisor) && names.slice(0, 3).every((way) => found[way].skipped || !passes(row, found[way])));

const lines = [
  '# The supervisor beside what JavaScript programs do',
  '',
  'Written by `pool-supervisor/node/report/report.mjs`, which plays all of it in one run, but for the column Windows.',
  'That column holds what `.ci/windows` found in a run of its own, before:',
  '',
  '```sh',
  '.ci/install-baselines',
  '.ci/windows',
  'node pool-supervisor/node/report/report.mjs "$(.ci/static-supervisor)"',
  '```',
  '',
  `${cpus().length} processors, Linux ${release()}, Node for the ways ${figures.nodeOf(node)}. ${figures.load}`,
  '',
  '`terminateTree` is written after the description of a well-known agent\'s function: it lists the descendants once, sends',
  'SIGTERM to the group, waits 500 ms, and kills what is left of its list. execa 10 has `killDescendants` and kills after',
  '500 ms. tree-kill sends SIGTERM, waits 500 ms, and sends SIGKILL. All have the same fixtures. A row passes if the call',
  'returns, no process of the tree lives 150 ms later, and no byte is lost. When the host was killed, none may live 1 s later, not',
  'even the sidecar. On a loaded machine',
  'milliseconds say little, and a way that lists processes by a program can be pending for its slowness alone.',
  '',
  `| row | what | ${names.join(' | ')} | Windows | macOS |`,
  `|---|---|${names.map(() => '---').join('|')}|---|---|`,
  ...results.map(({ row, found }) => `| ${row.id} | ${row.what} | ${names.map((way) => cell(row, found[way])).join(' | ')} | ${underWine(row)} | not run |`),
  '',
  ...names.map((way) => `* ${way}: passes ${list(passed(way))}; fails ${list(failed(way))}.`),
  `* Newly covered, where every other one fails: ${list(fresh.map(({ row }) => row.id))}.`,
  '',
  wasUnderWine
    ? 'The column Windows was run under Wine by the tests of the program, with programs of its own kind as children.'
    : 'Nothing was run on Windows: `.ci/windows` does that, and leaves its rows for this page.',
  'A dash is where a row needs signals, sessions or parents of Unix. macOS was not run.',
  '',
  ...figures.lines,
];
writeFileSync(page, `${lines.join('\n')}\n`);
process.exitCode = failed('supervisor').length > 0 ? 1 : 0;
