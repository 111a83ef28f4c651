/** How fast small requests are answered. */

import { setTimeout as sleep } from 'node:timers/promises';
import autocannon from 'autocannon';
import { why, type Server, type SignIn } from './servers.mjs';
import { rounded, type Options, type Table } from './table.mjs';
import { cpuSeconds } from '../local/checks/proc.mjs';
import { client, json } from '../local/clients/http.mjs';

const most = 16;
const MiB = 2 ** 20;
const batch = 'runs/log-batch, 20 metrics';

export interface Target {
  readonly title: string;
  readonly server: Server;
  readonly headers: Record<string, string>;
  readonly requests: Record<string, autocannon.Request>;
}

/** What was measured of one kind of request at one target. */
interface Figures {
  readonly milliseconds: number[];
  readonly seconds: number;
  readonly cpuSeconds: number;
  readonly failed: number;
}

/** So many requests, or so many seconds of them. */
type Extent = Pick<autocannon.Options, 'amount' | 'duration'>;

export async function prepareTargets(servers: Server[]): Promise<Target[]> {
  const targets: Target[] = [];
  for (const server of servers) {
    for (const [signIn, headers] of Object.entries(server.clients)) {
      targets.push(await prepare(server, signIn as SignIn, headers));
    }
  }
  return targets;
}

/** Has each server answer for a moment. */
export async function touch(targets: Target[]): Promise<void> {
  for (const target of targets) {
    await load(target, batch, most, { amount: 4 * most });
  }
}

export async function measureRequests(targets: Target[], { quick }: Options): Promise<Table[]> {
  const counts = quick ? [most] : [1, most];
  if (!quick) {
    await loadAll(targets, counts, [{ duration: 1 }]); // all of it warms up
  }
  const cells = await loadAll(targets, counts, quick ? [{ amount: most }] : [{ duration: 3 }, { duration: 3 }]);

  const table = (title: string, show: (figures: Figures) => string | number): Table => ({
    title,
    rows: Object.keys(targets[0].requests).flatMap(name => counts.map(connections => ({
      request: name,
      connections,
      ...Object.fromEntries(targets.map(target => {
        const figures = cells.get(key(name, connections, target))!;
        return [target.title, figures.failed > 0 ? `${figures.failed} failed` : show(figures)];
      })),
    }))),
  });
  const perSecond = table('Requests a second', ({ milliseconds, seconds }) => rounded(milliseconds.length / seconds));
  return [
    { ...perSecond, rows: perSecond.rows.map(row => ({ ...row, why: why(targets.map(({ server }) => server), row) })) },
    table('Time until the answer, median / 99 of 100, ms', ({ milliseconds }) => {
      const sorted = [...milliseconds].sort((one, other) => one - other);
      return [0.5, 0.99].map(part => rounded(sorted[Math.floor(sorted.length * part)])).join(' / ');
    }),
    table('Processor time of the server and its proxy, ms a request', ({ milliseconds, cpuSeconds: time }) => rounded(time * 1000 / milliseconds.length)),
  ];
}

/**
 * Every request at every target, as often as there are extents. What is compared follows each other closely, and each other time in the
 * opposite order, so that none is favoured by what comes and goes on the machine.
 */
async function loadAll(targets: Target[], counts: number[], extents: Extent[]): Promise<Map<string, Figures>> {
  const cells = new Map<string, Figures>();
  for (const [pass, extent] of extents.entries()) {
    for (const name of Object.keys(targets[0].requests)) {
      for (const connections of counts) {
        for (const target of pass % 2 === 0 ? targets : [...targets].reverse()) {
          const figures = await load(target, name, connections, extent);
          const before = cells.get(key(name, connections, target));
          cells.set(key(name, connections, target), before === undefined ? figures : {
            milliseconds: [...before.milliseconds, ...figures.milliseconds],
            seconds: before.seconds + figures.seconds,
            cpuSeconds: before.cpuSeconds + figures.cpuSeconds,
            failed: before.failed + figures.failed,
          });
        }
      }
    }
  }
  return cells;
}

function key(name: string, connections: number, { title }: Target): string {
  return [name, connections, title].join();
}

/** Twenty experiments to search in, a run for each connection to write to, an artifact to fetch. */
async function prepare(server: Server, signIn: SignIn, headers: Record<string, string>): Promise<Target> {
  const send = client(server.url);
  const ask = async (path: string, body: unknown) => {
    const message = json(body);
    const answer = await send(path, { ...message, headers: { ...message.headers, ...headers } });
    if (answer.status !== 200) {
      throw new Error(`${server.name} answers ${path} with ${answer.status}: ${answer.body}`);
    }
    return JSON.parse(answer.body) as { run: { info: { run_id: string } } };
  };
  for (let index = 0; index < 20; index += 1) {
    await ask('/api/2.0/mlflow/experiments/create', { name: `${signIn} ${index}` });
  }
  const runs: string[] = [];
  for (let index = 0; index < most; index += 1) {
    const { run } = await ask('/api/2.0/mlflow/runs/create', { experiment_id: '0' });
    runs.push(run.info.run_id);
  }
  let step = 0;
  const artifact = `/api/2.0/mlflow-artifacts/artifacts/${signIn}.bin`;
  const body = Buffer.alloc(MiB);
  await fetch(server.url + artifact, { method: 'PUT', headers, body });
  return {
    title: signIn === 'none' ? server.name : `${server.name}, ${signIn}`,
    server,
    headers,
    requests: {
      '/version': { path: '/version' },
      'experiments/search': { path: '/api/2.0/mlflow/experiments/search?max_results=20' },
      [batch]: {
        method: 'POST',
        path: '/api/2.0/mlflow/runs/log-batch',
        headers: { ...headers, 'content-type': 'application/json' },
        setupRequest: request => {
          step += 1;
          const metrics = Array.from({ length: 20 }, (_, index) => ({ key: `metric ${index}`, value: step, step, timestamp: step }));
          return { ...request, body: JSON.stringify({ run_id: runs[step % runs.length], metrics }) };
        },
      },
      'upload of 1 MiB': { method: 'PUT', path: artifact, body },
      'download of 1 MiB': { path: artifact },
    },
  };
}

async function load({ server, headers, requests }: Target, name: string, connections: number, extent: Extent): Promise<Figures> {
  const cpu = () => Object.values(server.pids).reduce((sum, pid) => sum + cpuSeconds(pid), 0);
  const milliseconds: number[] = [];
  const cpuBefore = cpu();
  const began = performance.now();
  const { errors, non2xx } = await new Promise<autocannon.Result>((resolve, reject) => {
    const options = { url: server.url, connections, timeout: 60, headers, requests: [requests[name]], sampleInt: 100, ...extent };
    autocannon(options, (error, result) => error ? reject(error as Error) : resolve(result))
      .on('response', (_client, _status, _bytes, time) => milliseconds.push(time));
  });
  const seconds = (performance.now() - began) / 1000;
  await sleep(100); // what was under way ends
  return { milliseconds, seconds, cpuSeconds: cpu() - cpuBefore, failed: errors + non2xx };
}
