/** What the servers take when nobody uses them: memory, processor time, connections and queries. */

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Server } from './servers.mjs';
import { rounded, type Options, type Table } from './table.mjs';
import { cpuSeconds, memoryMiB, processesOf } from '../local/checks/processes.mjs';
import type { Deployment } from '../local/deployment.mjs';

/** Memory of each program of each server; pages that processes share are counted once. */
export function measureMemory(servers: Server[]): Map<string, number> {
  return new Map(servers.flatMap(({ name, pids }) => Object.entries(pids).map(([program, pid]) => [`${name}: ${program}`, memoryMiB(pid)])));
}

export function memoryTable(servers: Server[], before: Map<string, number>): Table {
  const after = measureMemory(servers);
  return {
    title: 'Memory, MiB',
    rows: servers.flatMap(({ name, pids }) => Object.entries(pids).map(([program, pid]) => {
      const key = `${name}: ${program}`;
      return { 'server': name, program, 'processes': processesOf(pid).length, 'at rest': before.get(key)!, 'after all of the above': after.get(key)! };
    })),
  };
}

/** Has all queries of the servers logged from now on, in new sessions. Each has a database of its own, whose name begins the line. */
export async function logQueries({ database }: Deployment): Promise<void> {
  await database.query("ALTER SYSTEM SET log_line_prefix = '%d '");
  await database.query('SELECT pg_reload_conf()');
  await database.query(`ALTER ROLE "${database.userName}" SET log_statement = 'all'`);
  await database.query('SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = $1', [database.userName]);
}

/** From the moment on when the last client went away. */
export async function measureRest(deployment: Deployment, servers: Server[], { quick }: Options): Promise<Table> {
  const seconds = quick ? 3 : 300;
  const log = join(deployment.logs, 'database.log');
  const { length: logBegan } = readFileSync(log, 'utf8');
  const cpu = () => servers.map(({ pids }) => Object.values(pids).reduce((sum, pid) => sum + cpuSeconds(pid), 0));
  const cpuBegan = cpu();
  const first = await connections(deployment);
  let last = first;
  const emptyAfter = new Map<string, number>();
  const began = performance.now();
  for (let passed = 0; passed < seconds; passed = (performance.now() - began) / 1000) {
    last = await connections(deployment);
    servers.filter(({ database }) => (last.get(database) ?? 0) > 0).forEach(({ database }) => emptyAfter.delete(database));
    servers.filter(({ database }) => !last.has(database) && !emptyAfter.has(database)).forEach(({ database }) => emptyAfter.set(database, passed));
    await sleep(1000);
  }
  const cpuSpent = cpu().map((spent, index) => spent - cpuBegan[index]);
  const queries = readFileSync(log, 'utf8').slice(logBegan).split('\n');
  return {
    title: `At rest, for ${seconds} seconds`,
    rows: servers.map(({ name, database }, index) => ({
      'server': name,
      'connections at first': first.get(database) ?? 0,
      'none after, s': emptyAfter.has(database) ? Math.round(emptyAfter.get(database)!) : `never: ${last.get(database)} left`,
      'queries': queries.filter(line => new RegExp(`^${database} LOG: +(statement|execute)`).test(line)).length,
      'processor, % of a core': rounded(cpuSpent[index] / seconds * 100),
    })),
  };
}

/** How many connections clients have to each database. */
async function connections({ database }: Deployment): Promise<Map<string, number>> {
  const rows = await database.query<{ datname: string; count: number }>('SELECT datname, count(*)::int FROM pg_stat_activity WHERE usename = $1 GROUP BY 1', [database.userName], 'postgres');
  return new Map(rows.map(({ datname, count }) => [datname, count]));
}
