/** `npm run bench`: measures, prints a table for each part and writes all of them to `.try/bench.json`. */

import { mkdirSync, writeFileSync } from 'node:fs';
import { availableParallelism, totalmem } from 'node:os';
import { join, resolve } from 'node:path';
import { Argument, Command } from 'commander';
import { execa } from 'execa';
import type { Options, Table } from './table.mjs';

const root = resolve(import.meta.dirname, '..');
const reportFile = join(root, '.try', 'bench.json');

/** What can be measured; each returns tables of its own. */
const parts: Record<string, (options: Options) => Promise<Table[]>> = {
  // synthesis: measureSynthesis,
  // requests: measureRequests,
  // start: measureStart,
  // money: computeMoney,
};

const command = new Command('npm run bench --')
  .description('Measures this library beside what one would do without it, and prints tables.')
  .addArgument(new Argument('[parts...]', 'what to measure; without any, everything').choices(Object.keys(parts)))
  .option('--quick', 'everything as short as it can be, to see that it works', false)
  .parse();
const { quick } = command.opts<Options>();
const names = command.args.length > 0 ? command.args : Object.keys(parts);

async function machine(): Promise<Record<string, string | number>> {
  const { stdout: python } = await execa('python3', ['--version']);
  return { cpus: availableParallelism(), memory: `${Math.round(totalmem() / 2 ** 30)} GiB`, node: process.version, python: python.replace('Python ', '') };
}

const tables: Table[] = [];
for (const name of names) {
  for (const table of await parts[name]({ quick })) {
    console.log(`\n${table.title}`);
    console.table(table.rows);
    tables.push(table);
  }
}
mkdirSync(join(root, '.try'), { recursive: true });
writeFileSync(reportFile, JSON.stringify({ date: new Date().toISOString().slice(0, 10), machine: await machine(), tables }, undefined, 2));
