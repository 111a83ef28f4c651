/** Writes the tables into the pages, each between `<!-- bench:its title -->` and `<!-- /bench -->`, so that figures are never typed by hand. */

import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Table } from './table.mjs';
import { root } from '../local/run.mjs';

/** The measured tables by title, so that each part can be measured again separately. */
const measuredFile = join(root, 'docs', 'benchmarks.json');
const pages = [join(root, 'README.md'), ...readdirSync(join(root, 'docs')).filter(file => file.endsWith('.md')).map(file => join(root, 'docs', file))];

export function writePages(tables: Table[]): void {
  const measured = tables.filter(({ of }) => of !== undefined);
  if (measured.length > 0) {
    const titles = new Set(measured.map(({ title }) => title));
    writeFileSync(measuredFile, `${JSON.stringify([...readMeasured().filter(({ title }) => !titles.has(title)), ...measured], undefined, 2)}\n`);
  }
  for (const page of pages) {
    writeFileSync(page, fill(readFileSync(page, 'utf8'), tables));
  }
}

/** Throws if a page has a table that differs from the measured one. */
export function checkPages(): void {
  for (const page of pages) {
    const text = readFileSync(page, 'utf8');
    if (fill(text, readMeasured()) !== text) {
      throw new Error(`the tables of ${page} differ from docs/benchmarks.json: do not edit them, run \`npm run bench -- --write\``);
    }
  }
}

function readMeasured(): Table[] {
  return existsSync(measuredFile) ? JSON.parse(readFileSync(measuredFile, 'utf8')) as Table[] : [];
}

/** Replaces these tables in a page. Other tables are unchanged. */
export function fill(page: string, tables: Table[]): string {
  return page.replace(/(<!-- bench:(.+?) -->\n).*?(<!-- \/bench -->)/gs, (whole, begin: string, title: string, end: string) => {
    const table = tables.find(one => one.title === title);
    return table === undefined ? whole : `${begin}\n${markdown(table)}\n${end}`;
  });
}

function markdown({ rows, of }: Table): string {
  const columns = Object.keys(rows[0]);
  const isNumber = (column: string) => rows.every(row => /^(-?[\d.]+( [/·] [\d.]+)*)?$/.test(String(row[column])));
  const line = (cells: (string | number)[]) => `| ${cells.join(' | ')} |\n`;
  const table = line(columns) + line(columns.map(column => isNumber(column) ? '---:' : '---')) + rows.map(row => line(columns.map(column => row[column]))).join('');
  return of === undefined ? table : `${table}\n${of}\n`;
}
