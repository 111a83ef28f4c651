/** The short way to MLflow's handlers beside MLflow's own app: the same requests, on two fresh stores, have the same answers and leave the same behind. */

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readdirSync } from 'node:fs';
import http from 'node:http';
import { join } from 'node:path';
import { buffer } from 'node:stream/consumers';
import { setTimeout as sleep } from 'node:timers/promises';
import { gunzipSync } from 'node:zlib';
import { execa } from 'execa';
import { addressOf, type Levels } from './access/levels.mjs';
import { Seeds } from './access/seeds.mjs';
import { search } from './api.mjs';
import { inBrowser } from './browser.mjs';
import type { Checks } from './checks.mjs';
import { mostMeanwhile, processesOf, residentMiB } from './proc.mjs';
import { Mask, shown } from './short-way/comparison.mjs';
import { bearer, json, withLength, withToken, type Answer, type Message } from '../clients/http.mjs';
import { personToken } from '../clients/tokens.mjs';
import type { Deployment, Stack } from '../deployment.mjs';

const folder = join(import.meta.dirname, 'short-way');
const artifacts = '/api/2.0/mlflow-artifacts/artifacts';
const MiB = 2 ** 20;

/** A server, with a database and a folder of the bucket of its own. */
interface Way {
  readonly name: 'short' | 'own';
  readonly stack: Stack;
  readonly at: Levels;
  readonly seeds: Seeds;
  readonly mask: Mask;
}

interface Sent {
  readonly title: string;
  readonly path: (ids: Record<string, unknown>) => string;
  readonly message: (ids: Record<string, unknown>) => Message;
}

export async function checkShortWay(checks: Checks, deployment: Deployment): Promise<void> {
  const token = await personToken(deployment.issuer.issuer, deployment.clients, addressOf('admin'));
  const ways = [await start(deployment, 'short', token), await start(deployment, 'own', token)] as const;
  const both = new Both(deployment, ways, token);

  checks.heading('The short way and MLflow\'s own app');
  await checks.check('a server whose layers are unknown says that its answers take longer, and serves', async () => {
    const lines = deployment.log('servers-beside').split('\n').filter(line => line.startsWith('secure-mlflow takes no short way to the handlers of MLflow '));
    assert.deepEqual(lines.map(line => line.split(': ').at(-1)), ['a check asks for it']);
  });
  await checks.check('answer the same on every route, whatever the body is', async () => both.compare(await everyRoute(deployment)));
  await checks.check('answer the same on what is unusual', () => both.compare(unusual));
  await checks.check('send the same files, whole, in part, and not again', () => both.compareFiles());
  await checks.check('have the same rows and the same objects after all of that', () => both.compareStores());
  await checks.check('store the same of 40 clients at once', () => both.logAtOnce());
  await both.leaveAndFail(checks);
  await both.weighPage(checks);
  await checks.check('end what is under way when they are told to stop', () => both.stopInOrder());
}

async function start(deployment: Deployment, name: Way['name'], token: string): Promise<Way> {
  await deployment.database.create(name);
  const { env } = deployment.container('mlflow');
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
  return { name, stack, at, seeds: new Seeds(at), mask: new Mask() };
}

/** Each method of each route, with something that exists, with nothing, and with what is no request. */
async function everyRoute(deployment: Deployment): Promise<Sent[]> {
  const env = { ...deployment.container('mlflow').env, MLFLOW_ENABLE_AI_GATEWAY: 'true' };
  const { stdout } = await execa('python', [join(import.meta.dirname, 'access', 'routes.py')], { env, extendEnv: false, cwd: '/', preferLocal: false });
  const routes = JSON.parse(stdout.split('\n').at(-1)!) as { readonly method: string; readonly path: string }[];
  return routes.filter(({ path }) => !path.includes('/assistant/') && !path.includes('/gateway/supported-') && !path.endsWith('/demo/generate')).flatMap(({ method, path }) => {
    const query = (ids: Record<string, unknown>) => String(new URLSearchParams(Object.entries(ids).filter(([, value]) => typeof value === 'string') as [string, string][]));
    const address = (ids: Record<string, unknown>) => path.replaceAll(/{(\w+)}/g, (_, name: string) => encodeURIComponent(String(ids[name] ?? '1')).replaceAll('%2F', '/'));
    const sent = (title: string, message: Sent['message'], asked: (ids: Record<string, unknown>) => string = () => '') => (
      { title: `${method} ${path}, ${title}`, path: (ids: Record<string, unknown>) => `${address(ids)}${asked(ids)}`, message });
    if (method === 'GET' || method === 'HEAD' || method === 'OPTIONS') {
      return [sent('as it should be', () => ({ method }), ids => `?${query(ids)}`), sent('without parameters', () => ({ method }))];
    }
    const wrong = { 'no body': '', 'no JSON': '{"a', 'a list': '["x"]', 'numbers for text': '{"name":1,"experiment_id":1,"run_id":{},"key":[],"max_results":"x"}' };
    return [
      ...Object.entries(wrong).map(([title, body]) => sent(title, () => withLength({ method, body, headers: { 'content-type': 'application/json' } }))),
      sent('as plain text', ids => withLength({ method, body: JSON.stringify(ids), headers: { 'content-type': 'text/plain' } })),
      sent('as it should be', ids => withLength({ ...json(ids), method })),
    ];
  });
}

const at = (path: string, message: Message = {}): Sent => ({ title: `${message.method ?? 'GET'} ${path.slice(0, 100)} ${JSON.stringify(message.headers ?? '')}`, path: () => path, message: () => message });
const run = (fields: object, headers: http.OutgoingHttpHeaders = {}): Message => ({ method: 'POST', headers: { 'content-type': 'application/json', ...headers }, body: JSON.stringify(fields) });
const create = '/api/2.0/mlflow/experiments/create';
const unusual: Sent[] = [
  at(create, run({ name: 'in pieces' }, { 'transfer-encoding': 'chunked' })),
  at(create, run({ name: 'expected' }, { 'expect': '100-continue', 'content-length': 19 })),
  at(create, run({ name: 'ünïcödé ☃' })),
  at(create, run({ name: 'x'.repeat(100_000) })),
  at(create, { ...run({ name: 'gzip' }), headers: { 'content-type': 'application/json', 'content-encoding': 'gzip' } }),
  at('/api/2.0/mlflow/experiments/get-by-name?experiment_name=%C3%BCn%C3%AFc%C3%B6d%C3%A9%20%E2%98%83'),
  ...['/api/2.0//mlflow/experiments/search', '/api/2.0/mlflow/experiments/search/', '/API/2.0/mlflow/experiments/search', '/api/2.0/mlflow/experiments%2Fsearch?max_results=1', `/nothing/${'x'.repeat(8000)}`,
    '/api/2.0/mlflow/../mlflow/version', '/static-files/../static-files/index.html', '/static-files/%2e%2e/x', '/static-files/nothing.js', '/x%00y', '/%ff', '/%E2%98%83', '/version?%FF=%FF', '/v1', '/v1/', '/gateway', '/healthz',
    `${artifacts}`, `${artifacts}/..%2fx`, `${artifacts}/a%2Fb`, `${artifacts}/nothing`, '/get-artifact', '/get-artifact?run_uuid=x&path=../x', '/graphql', '/metrics', '/favicon.ico', '/index.html', '/docs', '/openapi.json'].map(path => at(path)),
  ...['GET', 'POST', 'PUT', 'DELETE', 'PATCH', 'HEAD', 'OPTIONS', 'TRACE', 'PROPFIND'].flatMap(method => [search, '/version', '/health', '/v1/traces', `${artifacts}/a`, '/', '/nothing'].map(path => at(path, withLength({ method })))),
  at(search, { headers: { 'x-mlflow-workspace': 'x' } }), at('/health', { headers: { 'x-mlflow-workspace': 'x' } }), at(search, { headers: { 'x-mlflow-workspace': '' } }),
  at(search, { headers: { 'accept-encoding': 'gzip, deflate, br' } }),
  at(`${artifacts}/empty`, { method: 'PUT', body: '' }), at(`${artifacts}/empty`),
  at(`${artifacts}/ünï/☃.txt`.replace('ünï/☃', '%C3%BCn%C3%AF/%E2%98%83'), { method: 'PUT', body: 'x' }), at(`${artifacts}/%C3%BCn%C3%AF/%E2%98%83.txt`),
  at(`${artifacts}/a.json`, { method: 'PUT', body: '{}', headers: { 'transfer-encoding': 'chunked' } }), at(`${artifacts}/a.json`), at(`${artifacts}/a.json`, { headers: { range: 'bytes=0-0' } }),
  at(`${artifacts}/long`, { method: 'PUT', body: 'x'.repeat(10 * MiB) }), at(`${artifacts}/long`), at(`${artifacts}/long`, { method: 'HEAD' }),
  at(`${artifacts}?path=`), at(`${artifacts}?path=a`), at(`${artifacts}/a.json`, { method: 'DELETE' }), at(`${artifacts}/a.json`),
];

class Both {
  private readonly headers: http.OutgoingHttpHeaders;

  constructor(private readonly deployment: Deployment, private readonly ways: readonly [Way, Way], private readonly token: string) {
    this.headers = bearer(token);
  }

  /** What both answer to each request, one after the other; returns how many there were. */
  async compare(requests: Sent[]): Promise<string> {
    const different: string[] = [];
    for (const { title, path, message } of requests) {
      const [short, own] = await Promise.all(this.ways.map(async ({ stack, seeds, mask }) => {
        const ids = await seeds.ids();
        mask.call(ids);
        const sent = withToken(this.token, message(ids));
        const answer = await stack.send(path(ids), sent).catch((error: Error): Answer => ({ status: 0, headers: {}, body: error.message }));
        if (!['GET', 'HEAD', 'OPTIONS'].includes(sent.method ?? 'GET') && answer.status < 300) {
          seeds.spoil();
        }
        return shown(answer, mask);
      }));
      if (short !== own) {
        different.push(`${title}\n${differenceOf(short, own)}`);
      }
    }
    assert.deepEqual(different, []);
    return `${requests.length} requests`;
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
      const compressed = await ask(shortWay, { 'accept-encoding': 'gzip, deflate, br' });
      const text = compressed.headers['content-encoding'] === 'gzip';
      assert.equal(text, /\.(js|css|json)$/.test(file), file);
      assert((text ? gunzipSync(compressed.body) : compressed.body).equals(own.body), file);
      assert.match(String(compressed.headers['cache-control']), /^private, /, file);
      const { etag } = compressed.headers;
      const again = await ask(shortWay, { 'accept-encoding': 'gzip, deflate, br', 'if-none-match': etag });
      assert.deepEqual([again.status, again.body.length, again.headers.etag], [304, 0, etag], file);
      assert.equal((await ask(shortWay, { 'if-none-match': own.headers.etag })).status, 304, file);
      assert.equal((await ask(shortWay, { 'accept-encoding': 'gzip, deflate, br' }, 'HEAD')).body.length, 0);
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
    assert.deepEqual(short, own);
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

  async leaveAndFail(checks: Checks): Promise<void> {
    const [{ stack }] = this.ways;
    const temporary = () => readdirSync(this.deployment.container('mlflow').env.TMPDIR).filter(name => name.startsWith('tmp'));
    checks.heading('By the short way');
    await checks.check('a client that leaves in the middle of an upload, a download or a search leaves nothing behind', async () => {
      const before = temporary();
      const answers = () => stack.send(search, { headers: this.headers }).then(({ status }) => status);
      for (const sent of [MiB, 30 * MiB]) {
        const upload = http.request(`${stack.url}${artifacts}/left`, { method: 'PUT', agent: false, headers: { ...this.headers, 'content-length': 40 * MiB } });
        upload.on('error', () => undefined);
        upload.write(Buffer.alloc(sent), () => upload.destroy());
        await new Promise(resolve => upload.on('close', resolve));
        assert.equal(await answers(), 200);
      }
      for (const path of [`${artifacts}/long`, '/check/long', '/api/2.0/mlflow/experiments/search?max_results=1000']) {
        const download = http.request(`${stack.url}${path}`, { agent: false, headers: this.headers });
        download.on('error', () => undefined).end();
        const [response] = await once(download, 'response') as [http.IncomingMessage];
        response.once('data', () => download.destroy()).on('error', () => undefined);
        await new Promise(resolve => download.on('close', resolve));
        assert.equal(await answers(), 200);
      }
      for (let tries = 0; temporary().length > before.length && tries < 50; tries += 1) {
        await answers();
      }
      assert.deepEqual(temporary(), before);
      assert.deepEqual((await this.deployment.s3.objects()).filter(({ key }) => key.endsWith('/left')), []);
    });
    await checks.check('what fails in a handler is one answer of 500, and the next request on the connection is answered', async () => {
      const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
      const ask = (path: string) => whole(this.ways[0].stack.server.url, path, { 'x-forwarded-email': addressOf('admin') }, 'GET', agent);
      for (const path of ['/check/fails', '/v1/traces/check-fails']) {
        assert.deepEqual([(await ask(path)).status, (await ask('/version')).status], [500, 200], path);
      }
      await assert.rejects(ask('/check/breaks-off')); // half an answer is no answer
      assert.equal((await ask('/version')).status, 200);
      agent.destroy();
    });
    await checks.check('readers who do not read keep nobody waiting, and need no memory', async () => {
      const slow = await Promise.all(Array.from({ length: 20 }, async () => {
        const request = http.request(`${stack.url}/check/long`, { agent: false, headers: this.headers }).end();
        const [response] = await once(request, 'response') as [http.IncomingMessage];
        return response; // nobody reads it
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

  /** Bytes over the wire, of the first load and of one that finds the files kept. */
  async weighPage(checks: Checks): Promise<void> {
    const [{ stack: { url } }] = this.ways;
    await inBrowser(async browser => {
      const context = await browser.newContext({ extraHTTPHeaders: this.headers as Record<string, string> });
      const page = await context.newPage();
      const session = await context.newCDPSession(page);
      await session.send('Network.enable');
      let bytes = 0;
      session.on('Network.loadingFinished', ({ encodedDataLength }) => { bytes += encodedDataLength; });
      for (const [title, most] of [['the first page takes at most 1.4 MB over the wire', 1_400_000], ['and at most 20 kB when it is opened again', 20_000]] as const) {
        await checks.check(title, async () => {
          await page.goto('about:blank');
          bytes = 0;
          await page.goto(`${url}/#/experiments`);
          await page.getByText('Default').first().waitFor();
          for (let seen = 0; seen !== bytes;) {
            seen = bytes;
            await sleep(1000); // until nothing more comes
          }
          assert(bytes > 1000 && bytes <= most, `${bytes} bytes`);
          return `${Math.round(bytes / 1000)} kB`;
        });
      }
      await context.close();
    });
  }

  async stopInOrder(): Promise<void> {
    const statuses = await Promise.all(this.ways.map(async ({ stack }) => {
      const slow = Promise.all(Array.from({ length: 4 }, () => stack.send('/check/slow', { headers: this.headers })));
      await stack.send('/version', { headers: this.headers }); // they are under way
      await stack.server.stop();
      await stack.stop();
      return (await slow).map(({ status, body }) => `${status} ${body}`);
    }));
    assert.deepEqual(statuses, [Array(4).fill('200 done'), Array(4).fill('200 done')]);
  }
}

/** The whole answer, in bytes. */
async function whole(origin: string, path: string, headers: http.OutgoingHttpHeaders, method = 'GET', agent: http.Agent | false = false) {
  const request = http.request(`${origin}${path}`, { method, headers, agent }).end();
  const [response] = await once(request, 'response') as [http.IncomingMessage];
  return { status: response.statusCode!, headers: response.headers, body: await buffer(response) };
}

/** The lines that only one of them has. */
function differenceOf(short: string, own: string): string {
  const lines = (text: string, other: string) => text.split('\n').filter(line => !other.split('\n').includes(line)).map(line => line.slice(0, 300));
  return `short: ${lines(short, own).join(' | ')}\nown: ${lines(own, short).join(' | ')}`;
}
