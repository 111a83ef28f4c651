/** The resources of unused servers: memory, processor time, connections and queries. */

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Server } from './servers.mjs';
import { rounded, type Options, type Table } from './table.mjs';
import { cpuSeconds, memoryMiB, processesOf } from '../local/checks/proc.mjs';

/** The memory of each program of each server. */
export function measureMemory(servers: Server[]): Map<number, number> {
  return new Map(servers.flatMap(({ pids }) => Object.values(pids).map(pid => [pid, memoryMiB(pid)])));
}

export function memoryTable(servers: Server[], before: Map<number, number>): Table {
  const after = measureMemory(servers);
  return {
    title: 'Memory, MiB',
    rows: servers.flatMap(({ name, pids }) => Object.entries(pids).map(([program, pid]) => (
      { 'server': name, program, 'processes': processesOf(pid).length, 'at rest': before.get(pid)!, 'after the load': after.get(pid)! }
    ))),
  };
}

/** Logs all queries of the servers from now on, in new sessions. Each line begins with the name of the database. */
export async function logQueries(servers: Server[]): Promise<void> {
  for (const { database } of new Set(servers.map(({ deployment }) => deployment))) {
    await database.query("ALTER SYSTEM SET log_line_prefix = '%d '");
    await database.query('SELECT pg_reload_conf()');
    await database.query(`ALTER ROLE "${database.userName}" SET log_statement = 'all'`);
    await database.query('SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = $1', [database.userName]);
  }
}

/** Measures from the time when the last client has left. */
export async function measureRest(servers: Server[], { quick }: Options): Promise<Table> {
  const seconds = quick ? 3 : 300;
  const log = ({ deployment }: Server) => readFileSync(join(deployment.logs, 'database.log'), 'utf8');
  const cpu = ({ pids }: Server) => Object.values(pids).reduce((sum, pid) => sum + cpuSeconds(pid), 0);
  const watched = await Promise.all(servers.map(async server => (
    { server, atFirst: await connections(server), logged: log(server).length, cpu: cpu(server), last: 0, noneAfter: undefined as number | undefined }
  )));
  const began = performance.now();
  for (let passed = 0; passed < seconds; passed = (performance.now() - began) / 1000) {
    for (const one of watched) {
      one.last = await connections(one.server);
      one.noneAfter = one.last > 0 ? undefined : one.noneAfter ?? passed;
    }
    await sleep(1000);
  }
  return {
    title: 'At rest, five minutes',
    rows: watched.map(({ server, atFirst, logged, cpu: cpuBefore, last, noneAfter }) => ({
      'server': server.name,
      'database connections': atFirst,
      'none left after, s': noneAfter === undefined ? `never, ${last} stay` : Math.round(noneAfter),
      'queries': log(server).slice(logged).split('\n').filter(line => new RegExp(`^${server.database} LOG: +(statement|execute)`).test(line)).length,
      'processor, % of a core': rounded((cpu(server) - cpuBefore) / seconds * 100),
    })),
  };
}

async function connections({ deployment: { database }, database: name }: Server): Promise<number> {
  const [{ count }] = await database.query<{ count: string }>('SELECT count(*) FROM pg_stat_activity WHERE usename = $1 AND datname = $2', [database.userName, name], 'postgres');
  return Number(count);
}
