/** The cost of requests with a growing number of stored runs. */

import { added, batch, cell, databaseTime, load, search, speed, type Extent, type Figures, type Target } from './requests.mjs';
import { subject, why } from './servers.mjs';
import { fillStore } from './store.mjs';
import type { Options, Table } from './table.mjs';

const connections = 16;

/** Measures this library and a bare server. The article has the same database work. */
export async function measureGrowth(targets: Target[], stored: number, { quick }: Options): Promise<Table['rows']> {
  const compared = targets.filter(({ server, signIn }) => (server.name === subject && signIn === 'bearer') || signIn === 'none');
  for (const { server } of compared) {
    await fillStore(server, stored);
  }
  const rows: Table['rows'] = [];
  for (const request of [search, batch]) {
    const figures = new Map<Target, Figures>();
    const extents: Extent[] = quick ? [{ amount: connections }] : [{ duration: 3 }, { duration: 3 }];
    for (const [pass, extent] of extents.entries()) {
      for (const target of pass % 2 === 0 ? compared : [...compared].reverse()) {
        if (!quick && pass === 0) {
          await load(target, request, connections, { duration: 1 });
        }
        const now = await load(target, request, connections, extent);
        const before = figures.get(target);
        figures.set(target, before === undefined ? now : added(before, now));
      }
    }
    const cells = Object.fromEntries(compared.map(target => [
      target.server.name, cell(figures.get(target)!, one => `${speed(one)} · ${databaseTime(one)}`),
    ]));
    rows.push({ request, 'stored runs': stored, ...cells, 'why': why(compared.map(({ server }) => server), cells) });
  }
  return rows;
}

export function growthTable(rows: Table['rows']): Table {
  return { title: 'Growth: requests a second · processor time of the server · of PostgreSQL, ms', rows: [search, batch].flatMap(request => rows.filter(row => row.request === request)) };
}
