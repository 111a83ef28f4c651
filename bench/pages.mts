/** Puts the tables into the pages, each between `<!-- bench:its title -->` and `<!-- /bench -->`. */

import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Table } from './table.mjs';
import { root } from '../local/run.mjs';

/** Tables that were not measured this time stay in the pages as they are. */
export function writePages(tables: Table[]): void {
  const docs = readdirSync(join(root, 'docs')).filter(file => file.endsWith('.md')).map(file => join(root, 'docs', file));
  for (const file of [join(root, 'README.md'), ...docs]) {
    writeFileSync(file, fill(readFileSync(file, 'utf8'), tables));
  }
}

export function fill(page: string, tables: Table[]): string {
  return page.replace(/(<!-- bench:(.+?) -->\n).*?(<!-- \/bench -->)/gs, (whole, begin: string, title: string, end: string) => {
    const table = tables.find(one => one.title === title);
    return table === undefined ? whole : `${begin}\n${markdown(table)}\n${end}`;
  });
}

function markdown({ rows }: Table): string {
  const columns = Object.keys(rows[0]);
  const isNumber = (column: string) => rows.every(row => /^(-?[\d.]+( \/ [\d.]+)?)?$/.test(String(row[column])));
  const line = (cells: (string | number)[]) => `| ${cells.join(' | ')} |\n`;
  return line(columns) + line(columns.map(column => isNumber(column) ? '---:' : '---')) + rows.map(row => line(columns.map(column => row[column]))).join('');
}
