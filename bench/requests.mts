/** The speed of small requests. */

import { randomBytes } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import autocannon from 'autocannon';
import { why, type Server, type SignIn } from './servers.mjs';
import { someExperiment } from './store.mjs';
import { rounded, type Options, type Table } from './table.mjs';
import { cpuSeconds } from '../local/checks/proc.mjs';
import { client, json } from '../local/clients/http.mjs';

const most = 16;
const MiB = 2 ** 20;
export const batch = 'runs/log-batch, 20 metrics';
export const search = 'runs/search, 25 runs';

export interface Target {
  readonly title: string;
  readonly server: Server;
  readonly signIn: SignIn;
  readonly headers: Record<string, string>;
  readonly requests: Record<string, autocannon.Request>;
}

/** The measurements of one kind of request at one target. */
export interface Figures {
  readonly milliseconds: number[];
  readonly seconds: number;
  readonly cpuSeconds: number;
  /** Processor time of PostgreSQL. */
  readonly databaseSeconds: number;
  readonly failed: number;
  /** The number of failures with status 404. */
  readonly unknown: number;
}

/** A number of requests, or of seconds. */
export type Extent = Pick<autocannon.Options, 'amount' | 'duration'>;

export async function prepareTargets(servers: Server[]): Promise<Target[]> {
  const targets: Target[] = [];
  for (const server of servers) {
    for (const [signIn, headers] of Object.entries(server.clients)) {
      targets.push(await prepare(server, signIn as SignIn, headers));
    }
  }
  return targets;
}

/** Sends a few requests to each server. */
export async function touch(targets: Target[]): Promise<void> {
  for (const target of targets) {
    await load(target, batch, most, { amount: 4 * most });
  }
}

export async function measureRequests(targets: Target[], { quick }: Options): Promise<Table[]> {
  const counts = quick ? [most] : [1, most];
  if (!quick) {
    await loadAll(targets, counts, [{ duration: 1 }]); // warms up all servers
  }
  const cells = await loadAll(targets, counts, quick ? [{ amount: most }] : [{ duration: 3 }, { duration: 3 }]);

  const table = (title: string, show: (figures: Figures) => string | number): Table => ({
    title,
    rows: Object.keys(targets[0].requests).flatMap(name => counts.map(connections => ({
      request: name,
      connections,
      ...Object.fromEntries(targets.map(target => {
        const figures = cells.get(key(name, connections, target))!;
        return [target.title, cell(figures, show)];
      })),
    }))),
  });
  const perSecond = table('Requests a second', speed);
  return [
    { ...perSecond, rows: perSecond.rows.map(row => ({ ...row, why: why(targets.map(({ server }) => server), row) })) },
    table('Time until the answer, median / 99 of 100, ms', ({ milliseconds }) => {
      const sorted = [...milliseconds].sort((one, other) => one - other);
      return [0.5, 0.99].map(part => rounded(sorted[Math.floor(sorted.length * part)])).join(' / ');
    }),
    table('Processor time of PostgreSQL, ms a request', databaseTime),
  ];
}

/** Requests a second, and the processor time of the server and its proxy for each, in ms. */
export function speed({ milliseconds, seconds, cpuSeconds: time }: Figures): string {
  return `${rounded(milliseconds.length / seconds)} · ${rounded(time * 1000 / milliseconds.length)}`;
}

export function databaseTime({ milliseconds, databaseSeconds }: Figures): number {
  return rounded(databaseSeconds * 1000 / milliseconds.length);
}

export function cell(figures: Figures, show: (figures: Figures) => string | number): string | number {
  const { failed, unknown } = figures;
  return failed === 0 ? show(figures) : failed === unknown ? 'not served' : `${failed} failed`;
}

export function added(one: Figures, other: Figures): Figures {
  return {
    milliseconds: [...one.milliseconds, ...other.milliseconds],
    seconds: one.seconds + other.seconds,
    cpuSeconds: one.cpuSeconds + other.cpuSeconds,
    databaseSeconds: one.databaseSeconds + other.databaseSeconds,
    failed: one.failed + other.failed,
    unknown: one.unknown + other.unknown,
  };
}

/**
 * Measures every request at every target, once for each extent. Compared targets directly follow each other, in reverse order every second
 * time, so that other activity of the machine favours none.
 */
async function loadAll(targets: Target[], counts: number[], extents: Extent[]): Promise<Map<string, Figures>> {
  const cells = new Map<string, Figures>();
  for (const [pass, extent] of extents.entries()) {
    for (const name of Object.keys(targets[0].requests)) {
      for (const connections of counts) {
        for (const target of pass % 2 === 0 ? targets : [...targets].reverse()) {
          const figures = await load(target, name, connections, extent);
          const before = cells.get(key(name, connections, target));
          cells.set(key(name, connections, target), before === undefined ? figures : added(before, figures));
        }
      }
    }
  }
  return cells;
}

function key(name: string, connections: number, { title }: Target): string {
  return [name, connections, title].join();
}

/** Creates twenty experiments for searches, one of them for new runs and traces, a run for the writes of each connection, and an artifact for downloads. */
async function prepare(server: Server, signIn: SignIn, headers: Record<string, string>): Promise<Target> {
  const send = client(server.url);
  const ask = async (path: string, body: unknown) => {
    const message = json(body);
    const answer = await send(path, { ...message, headers: { ...message.headers, ...headers } });
    if (answer.status !== 200) {
      throw new Error(`${server.name} answers ${path} with ${answer.status}: ${answer.body}`);
    }
    return JSON.parse(answer.body) as { experiment_id: string; run: { info: { run_id: string } } };
  };
  for (let index = 0; index < 19; index += 1) {
    await ask('/api/2.0/mlflow/experiments/create', { name: `${signIn} ${index}` });
  }
  const { experiment_id: own } = await ask('/api/2.0/mlflow/experiments/create', { name: `${signIn} 19` });
  const runs: string[] = [];
  for (let index = 0; index < most; index += 1) {
    const { run } = await ask('/api/2.0/mlflow/runs/create', { experiment_id: '0' });
    runs.push(run.info.run_id);
  }
  let step = 0;
  const ofJson = { ...headers, 'content-type': 'application/json' };
  const artifact = `/api/2.0/mlflow-artifacts/artifacts/${signIn}.bin`;
  const body = Buffer.alloc(MiB);
  await fetch(server.url + artifact, { method: 'PUT', headers, body });
  return {
    title: signIn === 'none' ? server.name : `${server.name}, ${signIn}`,
    server,
    signIn,
    headers,
    requests: {
      '/version': { path: '/version' },
      'experiments/search': { path: '/api/2.0/mlflow/experiments/search?max_results=20' },
      [search]: {
        method: 'POST',
        path: '/api/2.0/mlflow/runs/search',
        headers: ofJson,
        body: JSON.stringify({ experiment_ids: [await someExperiment(server)], max_results: 25, order_by: ['attributes.start_time DESC'] }),
      },
      'runs/create': {
        method: 'POST',
        path: '/api/2.0/mlflow/runs/create',
        headers: ofJson,
        body: JSON.stringify({ experiment_id: own, start_time: 1 }),
      },
      [batch]: {
        method: 'POST',
        path: '/api/2.0/mlflow/runs/log-batch',
        headers: ofJson,
        setupRequest: request => {
          step += 1;
          const metrics = Array.from({ length: 20 }, (_, index) => ({ key: `metric ${index}`, value: step, step, timestamp: step }));
          return { ...request, body: JSON.stringify({ run_id: runs[step % runs.length], metrics }) };
        },
      },
      'a trace, 10 spans': {
        method: 'POST',
        path: '/v1/traces',
        headers: { ...ofJson, 'x-mlflow-experiment-id': own },
        setupRequest: request => ({ ...request, body: JSON.stringify(trace()) }),
      },
      'upload of 1 MiB': { method: 'PUT', path: artifact, body },
      'download of 1 MiB': { path: artifact },
    },
  };
}

/** A trace as a program sends it with OpenTelemetry: a call with nine steps. */
function trace(): object {
  const traceId = randomBytes(16).toString('hex');
  const ids = Array.from({ length: 10 }, () => randomBytes(8).toString('hex'));
  const now = BigInt(Date.now()) * 1_000_000n;
  const spans = ids.map((spanId, index) => ({
    traceId,
    spanId,
    ...index > 0 && { parentSpanId: ids[0] },
    name: `step ${index}`,
    kind: 1,
    startTimeUnixNano: String(now),
    endTimeUnixNano: String(now + 1_000_000n),
    attributes: [{ key: 'step', value: { stringValue: `${index}` } }],
    status: { code: 1 },
  }));
  return { resourceSpans: [{ resource: { attributes: [] }, scopeSpans: [{ scope: { name: 'bench' }, spans }] }] };
}

export async function load({ server, headers, requests }: Target, name: string, connections: number, extent: Extent): Promise<Figures> {
  const cpu = () => Object.values(server.pids).reduce((sum, pid) => sum + cpuSeconds(pid), 0);
  const database = () => cpuSeconds(server.deployment.database.pid);
  const milliseconds: number[] = [];
  const [cpuBefore, databaseBefore] = [cpu(), database()];
  const began = performance.now();
  const { errors, non2xx, statusCodeStats } = await new Promise<autocannon.Result>((resolve, reject) => {
    const options = { url: server.url, connections, timeout: 60, headers, requests: [requests[name]], sampleInt: 100, ...extent };
    autocannon(options, (error, result) => error ? reject(error as Error) : resolve(result))
      .on('response', (_client, _status, _bytes, time) => milliseconds.push(time));
  });
  const seconds = (performance.now() - began) / 1000;
  await sleep(100); // until running requests have ended
  return {
    milliseconds,
    seconds,
    cpuSeconds: cpu() - cpuBefore,
    databaseSeconds: database() - databaseBefore,
    failed: errors + non2xx,
    unknown: statusCodeStats?.['404']?.count ?? 0,
  };
}
