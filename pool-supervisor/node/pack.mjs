// Makes an npm package that holds the program for the platform that it was built for.
//
//   node pack.mjs PROGRAM FOLDER
//
// Prints the path of the package.

import { execFileSync } from 'node:child_process';
import { chmodSync, copyFileSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

const [program, folder] = process.argv.slice(2);
const source = fileURLToPath(new URL('.', import.meta.url));
const stage = mkdtempSync(join(tmpdir(), 'pool-supervisor-pack-'));
try {
  for (const name of readdirSync(source)) {
    if (/\.(mjs|d\.ts)$/.test(name) && name !== 'pack.mjs') copyFileSync(join(source, name), join(stage, name));
  }
  const manifest = JSON.parse(readFileSync(join(source, 'package.json'), 'utf8'));
  Object.assign(manifest, { os: [process.platform], cpu: [process.arch] });
  writeFileSync(join(stage, 'package.json'), JSON.stringify(manifest, null, 2));
  copyFileSync(join(source, '../README.md'), join(stage, 'README.md'));
  for (const name of ['LICENSE-APACHE', 'LICENSE-MIT']) copyFileSync(join(source, '../..', name), join(stage, name));
  mkdirSync(join(stage, 'bin'));
  const packed = join(stage, 'bin', basename(program).endsWith('.exe') ? 'pool-supervisor.exe' : 'pool-supervisor');
  copyFileSync(program, packed);
  chmodSync(packed, 0o755);
  const said = execFileSync('npm', ['pack', '--silent', '--pack-destination', resolve(folder)], { cwd: stage, encoding: 'utf8' });
  console.log(join(resolve(folder), said.trim().split('\n').pop()));
} finally {
  rmSync(stage, { recursive: true });
}
