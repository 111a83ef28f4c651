/** `npm run bench`: measures, prints a table for each part and writes all of them to `.try/bench.json`. */

import { mkdirSync, writeFileSync } from 'node:fs';
import { availableParallelism, totalmem } from 'node:os';
import { join } from 'node:path';
import { Argument, Command } from 'commander';
import { execa } from 'execa';
import { computeMoney } from './money.mjs';
import { writePages } from './pages.mjs';
import { measureSideBySide } from './side-by-side.mjs';
import { measureStart } from './start.mjs';
import { measureSynthesis } from './synthesis.mjs';
import type { Options, Table } from './table.mjs';
import { folder, root, runToTheEnd } from '../local/run.mjs';

/** What can be measured; each returns tables of its own. */
const parts: Record<string, (options: Options) => Promise<Table[]>> = {
  requests: measureSideBySide,
  start: measureStart,
  synthesis: measureSynthesis,
  money: computeMoney,
};

const command = new Command('npm run bench --')
  .description('Measures this library beside what one would do without it, and prints tables.')
  .addArgument(new Argument('[parts...]', 'what to measure; without any, everything').choices(Object.keys(parts)))
  .option('--quick', 'everything as short as it can be, to see that it works', false)
  .option('--write', 'put the tables into README, docs/ and docs/benchmarks.json, too', false)
  .parse();
const { quick, write } = command.opts<Options & { readonly write: boolean }>();
const names = command.args.length > 0 ? command.args : Object.keys(parts);

async function main(): Promise<boolean> {
  const tables: Table[] = names.some(name => name !== 'money') ? [await surroundings()] : [];
  for (const name of names) {
    tables.push(...await parts[name]({ quick }));
  }
  for (const { title, rows } of tables) {
    console.log(`\n${title}`);
    console.table(rows);
  }
  const report = `${JSON.stringify(tables, undefined, 2)}\n`;
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, 'bench.json'), report);
  if (write) {
    writeFileSync(join(root, 'docs', 'benchmarks.json'), report);
    writePages(tables);
  }
  return true;
}

async function surroundings(): Promise<Table> {
  const { stdout: python } = await execa('python3', ['--version']);
  return {
    title: 'Measured',
    rows: [{
      'on': new Date().toISOString().slice(0, 10),
      'processors': availableParallelism(),
      'memory, GiB': Math.round(totalmem() / 2 ** 30),
      'Node': process.versions.node,
      'Python': python.replace('Python ', ''),
    }],
  };
}

runToTheEnd(main);
