/** The short way to MLflow's handlers, compared with MLflow's own app: the same requests to two new databases must have the same answers and the same results. */

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { cpSync, readdirSync } from 'node:fs';
import http from 'node:http';
import { join } from 'node:path';
import { buffer } from 'node:stream/consumers';
import { setTimeout as sleep } from 'node:timers/promises';
import { gunzipSync } from 'node:zlib';
import { addressOf, type Levels } from './access/levels.mjs';
import { Seeds } from './access/seeds.mjs';
import { search } from './api.mjs';
import { inBrowser } from './browser.mjs';
import type { Checks } from './checks.mjs';
import { mostMeanwhile, processesOf, residentMiB } from './proc.mjs';
import { Mask, shown } from './short-way/comparison.mjs';
import { artifacts, compressing, everyRoute, MiB, onPurpose, onRun, unusual, type Sent } from './short-way/requests.mjs';
import { bearer, json, withToken, type Answer, type Message } from '../clients/http.mjs';
import { personToken } from '../clients/tokens.mjs';
import type { Deployment, Stack } from '../deployment.mjs';

/** The folder with the servers of this check and their routes. */
const program = join(import.meta.dirname, 'short-way');

/** A server, with its own database and its own folder of the bucket. */
interface Way {
  readonly name: 'short' | 'own';
  readonly stack: Stack;
  readonly at: Levels;
  readonly seeds: Seeds;
  readonly mask: Mask;
}

export async function checkShortWay(checks: Checks, deployment: Deployment): Promise<void> {
  const token = await personToken(deployment.issuer.issuer, deployment.clients, addressOf('admin'));
  const ways = [await start(deployment, 'short', token), await start(deployment, 'own', token)] as const;
  const both = new Both(deployment, ways, token);

  checks.heading('The short way and MLflow\'s own app');
  await checks.check('a server with unknown layers logs that its answers take longer, and serves', async () => {
    const lines = deployment.log('servers-beside').split('\n').filter(line => line.startsWith('secure-mlflow does not use the short way to the handlers of MLflow '));
    assert.deepEqual(lines.map(line => line.split(': ').at(-1)), ['requested by a check']);
  });
  await checks.check('give the same answers on every route, with any body', async () => both.compare(await everyRoute(deployment)));
  await checks.check('give the same answers to unusual requests', () => both.compare(unusual));
  await checks.check('give the same answers about one run, and to batches that fail', () => both.compare(onRun, 'keep'));
  await checks.check('send the same long answers, compressed', () => both.compareCompressed());
  await checks.check('send the same files, whole, in part, and not again if unchanged', () => both.compareFiles());
  await checks.check('then have the same rows and the same objects', () => both.compareStores());
  await checks.check('store the same data of 40 clients at the same time', () => both.logAtOnce());
  await checks.check('replace connections that the database has ended, and still answer 40 requests at the same time', () => both.findEndedConnections());
  await both.leaveAndFail(checks);
  await both.weighPage(checks);
  await checks.check('finish running requests before they stop', () => both.stopInOrder());
}

async function start(deployment: Deployment, name: Way['name'], token: string): Promise<Way> {
  await deployment.database.create(name);
  const { env } = deployment.container('mlflow');
  const folder = join(env.TMPDIR, 'ways');
  cpSync(program, deployment.onDisk('mlflow', folder), { recursive: true });
  const stack = await deployment.startStack({
    command: ['mlflow', 'server', '--app-name', `${name}-way`],
    env: {
      PYTHONPATH: `${env.PYTHONPATH}:${folder}`,
      MLFLOW_BACKEND_STORE_URI: env.MLFLOW_BACKEND_STORE_URI.replace(/\/\w+\?/, `/${name}?`),
      MLFLOW_ARTIFACTS_DESTINATION: `${env.MLFLOW_ARTIFACTS_DESTINATION}/${name}`,
      MLFLOW_ENABLE_AI_GATEWAY: 'true',
      MLFLOW_MODEL_CATALOG_URI: '', // a list on the internet
    },
  });
  const at: Levels = { deployment, tokens: { none: token, reader: token, editor: token, admin: token }, send: stack.send };
  return { name, stack, at, seeds: new Seeds(at), mask: new Mask(new URL(stack.url).host) };
}

class Both {
  private readonly headers: http.OutgoingHttpHeaders;

  constructor(private readonly deployment: Deployment, private readonly ways: readonly [Way, Way], private readonly token: string) {
    this.headers = bearer(token);
  }

  /** Compares the answers of both to each request, one after the other. Returns the number of requests. */
  async compare(requests: Sent[], then: 'keep' | 'spoil' = 'spoil'): Promise<string> {
    const different: string[] = [];
    this.ways.forEach(({ seeds }) => seeds.spoil());
    for (const { title, path, message } of requests) {
      const [short, own] = await Promise.all(this.ways.map(async ({ stack, seeds, mask }) => {
        const ids = await seeds.ids();
        mask.call(ids);
        const sent = withToken(this.token, message(ids));
        const answer = await stack.send(path(ids), sent).catch((error: Error): Answer => ({ status: 0, headers: {}, body: error.message }));
        if (then === 'spoil' && !['GET', 'HEAD', 'OPTIONS'].includes(sent.method ?? 'GET') && answer.status < 300) {
          seeds.spoil();
        }
        return shown(answer, mask);
      }));
      const reason = onPurpose[title];
      if ((short !== own) !== (reason !== undefined)) {
        different.push(`${title}${reason === undefined ? '' : ` no longer differs: ${reason}`}\n${differenceOf(short, own)}`);
      }
    }
    assert.deepEqual(different, []);
    return `${requests.length} requests`;
  }

  async compareCompressed(): Promise<string> {
    const [shortWay, ownWay] = this.ways;
    const paths = [
      '/api/2.0/mlflow/experiments/search?max_results=200',
      '/ajax-api/2.0/mlflow/registered-models/search?max_results=100',
      '/ajax-api/3.0/mlflow/gateway/provider-config?provider=openai',
    ];
    const lengths = await Promise.all(paths.map(async path => {
      const ask = (way: Way, headers: http.OutgoingHttpHeaders) => whole(way.stack.url, path, { ...this.headers, ...headers });
      const [own, plain, short] = await Promise.all([ask(ownWay, compressing), ask(shortWay, {}), ask(shortWay, compressing)]);
      const long = plain.body.length >= 2048;
      assert.deepEqual([own, plain, short].map(({ status, headers }) => [status, headers['content-encoding']]), [[200, undefined], [200, undefined], [200, long ? 'gzip' : undefined]], path);
      assert.equal(Number(short.headers['content-length']), short.body.length, path);
      assert((long ? gunzipSync(short.body) : short.body).equals(plain.body), path);
      return plain.body.length;
    }));
    assert(lengths.some(length => length > 50_000), lengths.join(', '));
    return lengths.map(length => `${Math.round(length / 1000)} kB`).join(', ');
  }

  async compareFiles(): Promise<string> {
    const [shortWay, ownWay] = this.ways;
    const { body: page } = await ownWay.stack.send('/', { headers: this.headers });
    const files = [...page.matchAll(/(?:src|href)="\.?\/?(static-files\/[^"]+)"/g)].map(([, file]) => `/${file}`);
    assert(files.some(file => file.endsWith('.js')) && files.some(file => file.endsWith('.css')));
    for (const file of files) {
      const ask = (way: Way, headers: http.OutgoingHttpHeaders, method = 'GET') => whole(way.stack.url, file, { ...this.headers, ...headers }, method);
      const own = await ask(ownWay, {});
      for (const [title, headers] of Object.entries({ 'without compression': {}, 'in part': { range: 'bytes=5-9' }, 'at the end': { range: 'bytes=-5' }, 'beyond it': { range: 'bytes=99999999-' } })) {
        const [short, expected] = await Promise.all(this.ways.map(way => ask(way, headers)));
        assert.deepEqual([short.status, short.body, short.headers['content-range'], short.headers['content-type']], [expected.status, expected.body, expected.headers['content-range'], expected.headers['content-type']], `${file} ${title}`);
      }
      const compressed = await ask(shortWay, compressing);
      const text = compressed.headers['content-encoding'] === 'gzip';
      assert.equal(text, /\.(js|css|json)$/.test(file), file);
      assert((text ? gunzipSync(compressed.body) : compressed.body).equals(own.body), file);
      assert.match(String(compressed.headers['cache-control']), /^private, /, file);
      const { etag } = compressed.headers;
      const again = await ask(shortWay, { ...compressing, 'if-none-match': etag });
      assert.deepEqual([again.status, again.body.length, again.headers.etag], [304, 0, etag], file);
      assert.equal((await ask(shortWay, { 'if-none-match': own.headers.etag })).status, 304, file);
      assert.equal((await ask(shortWay, compressing, 'HEAD')).body.length, 0);
    }
    return `${files.length} files`;
  }

  async compareStores(): Promise<string> {
    const contents = await Promise.all(this.ways.map(async ({ name, mask }) => {
      mask.call({});
      const tables = await this.deployment.database.query<{ name: string }>('SELECT table_name AS name FROM information_schema.tables WHERE table_schema = $1 ORDER BY 1', ['public'], name);
      const rows = await Promise.all(tables.map(async table => {
        const found = await this.deployment.database.query<{ row: string }>(`SELECT content::text AS row FROM "${table.name}" content`, [], name);
        return [table.name, found.map(({ row }) => mask.hide(row)).sort()] as const;
      }));
      const objects = (await this.deployment.s3.objects()).filter(({ key }) => key.includes(`/${name}/`)).map(({ key, size }) => `${mask.hide(key)} ${size}`).sort();
      return { tables: Object.fromEntries(rows), objects };
    }));
    const [short, own] = contents;
    const onlyIn = (one: typeof own, other: typeof own) => [...Object.entries(one.tables), ['objects', one.objects] as const]
      .flatMap(([table, rows]) => surplus(rows, table === 'objects' ? other.objects : other.tables[table] ?? []).map(row => `${table}: ${row}`));
    assert.deepEqual([onlyIn(short, own), onlyIn(own, short)], [[], []]);
    const count = Object.values(own.tables).flat().length;
    assert(count > 1000 && own.objects.length > 10, `${count} rows, ${own.objects.length} objects`);
    return `${count} rows in ${Object.keys(own.tables).length} tables, ${own.objects.length} objects`;
  }

  async logAtOnce(): Promise<void> {
    const counts = await Promise.all(this.ways.map(async ({ stack, seeds, name }) => {
      seeds.spoil();
      const { run_id } = await seeds.ids();
      const answers = await Promise.all(Array.from({ length: 40 }, (_, index) => stack.send('/api/2.0/mlflow/runs/log-batch', withToken(this.token, json({
        run_id, metrics: Array.from({ length: 20 }, (__, metric) => ({ key: `at once ${metric}`, value: index, timestamp: index, step: index })),
      })))));
      assert.deepEqual(answers.filter(({ status }) => status !== 200), []);
      const [{ count }] = await this.deployment.database.query<{ count: string }>('SELECT count(*) FROM metrics WHERE key LIKE \'at once %\'', [], name);
      const latest = await this.deployment.database.query<{ value: number }>('SELECT DISTINCT value FROM latest_metrics WHERE key LIKE \'at once %\'', [], name);
      return [count, latest];
    }));
    assert.deepEqual(counts, [['800', [{ value: 39 }]], ['800', [{ value: 39 }]]]);
  }

  /** Simulates a failover of the database. */
  async findEndedConnections(): Promise<void> {
    for (const { stack, seeds, name } of this.ways) {
      const { run_id, artifact_path } = await seeds.ids();
      const ended = await this.deployment.database.query('SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1 AND pid <> pg_backend_pid()', [name], name);
      assert(ended.length > 0);
      const requests: [string, Message][] = [
        [search, {}],
        ['/version', {}],
        ['/api/3.0/mlflow/server-info', {}],
        [`/api/2.0/mlflow/runs/get?run_id=${String(run_id)}`, {}],
        ['/api/2.0/mlflow/runs/log-metric', json({ run_id, key: 'm', value: 1, timestamp: 1 })],
        [`/get-artifact?run_uuid=${String(run_id)}&path=file.txt`, {}],
        [`${artifacts}/${String(artifact_path)}`, {}],
        [`${artifacts}/at-once`, { method: 'PUT', body: 'x'.repeat(3 * MiB) }],
      ];
      const answers = await Promise.all(Array.from({ length: 5 }, () => requests).flat().map(async ([path, message]) => {
        const { status } = await stack.send(path, withToken(this.token, message));
        return `${path} ${status}`;
      }));
      assert.deepEqual(answers.filter(answer => !answer.endsWith(' 200')), [], name);
    }
  }

  async leaveAndFail(checks: Checks): Promise<void> {
    const [{ stack }] = this.ways;
    const temporary = () => readdirSync(this.deployment.onDisk('mlflow', `${this.deployment.container('mlflow').env.TMPDIR}/`)).filter(name => name.startsWith('tmp'));
    checks.heading('With the short way');
    await checks.check('a client that leaves during an upload, a download or a search leaves no file or object behind', async () => {
      const before = temporary();
      const answers = () => stack.send(search, { headers: this.headers }).then(({ status }) => status);
      for (const sent of [MiB, 30 * MiB]) {
        const upload = http.request(`${stack.url}${artifacts}/left`, { method: 'PUT', agent: false, headers: { ...this.headers, 'content-length': 40 * MiB } });
        upload.on('error', () => undefined);
        upload.write(Buffer.alloc(sent), () => upload.destroy());
        await new Promise(resolve => upload.on('close', resolve));
        assert.equal(await answers(), 200);
      }
      const { experiment_id, run_id } = await this.ways[0].seeds.ids();
      const large = `${artifacts}/${String(experiment_id)}/${String(run_id)}/artifacts/large`;
      assert.equal((await stack.send(large, withToken(this.token, { method: 'PUT', body: 'x'.repeat(10 * MiB) }))).status, 200);
      for (const path of [`${artifacts}/long`, `/get-artifact?run_uuid=${String(run_id)}&path=large`, '/check/long', '/api/2.0/mlflow/experiments/search?max_results=1000']) {
        const download = http.request(`${stack.url}${path}`, { agent: false, headers: this.headers });
        download.on('error', () => undefined).end();
        const [response] = await once(download, 'response') as [http.IncomingMessage];
        response.once('data', () => download.destroy()).on('error', () => undefined);
        await new Promise(resolve => download.on('close', resolve));
        assert.equal(await answers(), 200);
      }
      const left = () => temporary().filter(name => !before.includes(name));
      for (let tries = 0; left().length > 0 && tries < 100; tries += 1) {
        await sleep(100); // until running requests have ended
      }
      assert.deepEqual(left(), []);
      assert.deepEqual((await this.deployment.s3.objects()).filter(({ key }) => key.endsWith('/left')), []);
    });
    await checks.check('an error in a handler is an answer with 500, and the next request on the connection is answered', async () => {
      const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
      const ask = (path: string) => whole(this.ways[0].stack.server.url, path, { 'x-forwarded-email': addressOf('admin') }, 'GET', agent);
      for (const path of ['/check/fails', '/v1/traces/check-fails']) {
        const [failed, next] = [await ask(path), await ask('/version')];
        assert.deepEqual([failed.status, next.status, next.sameConnection], [500, 200, true], path);
      }
      await assert.rejects(ask('/check/breaks-off')); // an incomplete answer is an error
      assert.equal((await ask('/version')).status, 200);
      agent.destroy();
    });
    await checks.check('clients that do not read their answers do not block others, and need no memory', async () => {
      const slow = await Promise.all(Array.from({ length: 20 }, async () => {
        const request = http.request(`${stack.url}/check/long`, { agent: false, headers: this.headers }).end();
        const [response] = await once(request, 'response') as [http.IncomingMessage];
        return response; // it is not read
      }));
      const worker = () => Math.max(...processesOf(stack.server.pid).map(residentMiB));
      const before = worker();
      const most = await mostMeanwhile(worker, async () => {
        const statuses = await Promise.all(Array.from({ length: 20 }, async () => (await stack.send(search, { headers: this.headers })).status));
        assert.deepEqual(statuses, Array(20).fill(200));
      });
      slow.forEach(response => response.destroy());
      assert(most - before < 100, `${before} MiB, then ${most}`);
    });
  }

  /** Measures the bytes over the network, of the first load and of a load with cached files. */
  async weighPage(checks: Checks): Promise<void> {
    const [{ stack: { url, send } }] = this.ways;
    const name = 'newest of all'; // the newest experiment is always in the list
    await send('/api/2.0/mlflow/experiments/create', withToken(this.token, json({ name })));
    await inBrowser(async browser => {
      const context = await browser.newContext({ extraHTTPHeaders: this.headers as Record<string, string> });
      const page = await context.newPage();
      const session = await context.newCDPSession(page);
      await session.send('Network.enable');
      let bytes = 0;
      session.on('Network.loadingFinished', ({ encodedDataLength }) => { bytes += encodedDataLength; });
      for (const [title, most] of [['the first page needs at most 1.4 MB over the network', 1_400_000], ['the page needs at most 20 kB when it is opened again', 20_000]] as const) {
        await checks.check(title, async () => {
          await page.goto('about:blank');
          bytes = 0;
          await page.goto(`${url}/#/experiments`);
          await page.getByText(name).first().waitFor();
          for (let seen = 0; seen !== bytes;) {
            seen = bytes;
            await sleep(1000); // until no more bytes arrive
          }
          assert(bytes > 1000 && bytes <= most, `${bytes} bytes`);
          return `${Math.round(bytes / 1000)} kB`;
        });
      }
      await context.close();
    });
  }

  /** Stops both servers during an upload, a download and waiting requests. */
  async stopInOrder(): Promise<void> {
    const ends = await Promise.all(this.ways.map(async ({ name, stack }) => {
      const waiting = Array.from({ length: 4 }, () => stack.send('/check/slow', { headers: this.headers }).then(({ status, body }) => `${status} ${body}`));
      const upload = http.request(`${stack.url}${artifacts}/late`, { method: 'PUT', agent: false, headers: { ...this.headers, 'content-length': 4 * MiB } });
      const uploaded = once(upload, 'response') as Promise<[http.IncomingMessage]>;
      upload.write(Buffer.alloc(3 * MiB));
      const [download] = await once(http.request(`${stack.url}/check/long`, { agent: false, headers: this.headers }).end(), 'response') as [http.IncomingMessage];
      const stopped = stack.server.stop();
      await sleep(1000);
      upload.end(Buffer.alloc(MiB));
      const [{ statusCode }] = await uploaded;
      const { length } = await buffer(download);
      const done = await Promise.all(waiting);
      await stopped;
      await stack.stop();
      const late = (await this.deployment.s3.objects()).find(({ key }) => key.endsWith(`/${name}/late`));
      return { waiting: done, statusCode, stored: late?.size, length };
    }));
    const all = { waiting: Array(4).fill('200 done'), statusCode: 200, stored: 4 * MiB, length: 1600 * 65_536 };
    assert.deepEqual(ends, [all, all]);
  }
}

/** Returns the whole answer, with its body as bytes. */
async function whole(origin: string, path: string, headers: http.OutgoingHttpHeaders, method = 'GET', agent: http.Agent | false = false) {
  const request = http.request(`${origin}${path}`, { method, headers, agent }).end();
  const [response] = await once(request, 'response') as [http.IncomingMessage];
  return { status: response.statusCode!, headers: response.headers, body: await buffer(response), sameConnection: request.reusedSocket };
}

/** The lines that only one of the answers has. */
function differenceOf(short: string, own: string): string {
  const lines = (text: string, other: string) => text.split('\n').filter(line => !other.split('\n').includes(line)).map(line => line.slice(0, 300));
  return `short: ${lines(short, own).join(' | ')}\nown: ${lines(own, short).join(' | ')}`;
}

/** The rows that are missing in `others`, counting duplicates. */
function surplus(rows: readonly string[], others: readonly string[]): string[] {
  const left = [...others];
  return rows.filter(row => {
    const index = left.indexOf(row);
    return index < 0 || left.splice(index, 1).length === 0;
  });
}
