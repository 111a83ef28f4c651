/** Small requests cannot use much memory, and requests that wait do not block others. */

import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import type { OutgoingHttpHeaders } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { deflate, deflateRaw, gzip } from 'node:zlib';
import { serviceAccount, type DoorSuite, type Side } from './suite.mjs';
import { bearer, json } from '../../clients/http.mjs';
import { search } from '../api.mjs';
import { processesOf, read } from '../proc.mjs';

const MiB = 1024 * 1024;
/** The unpacked size of a bomb, and how much memory the server may use for it. */
const bombMiB = 256;
const growthMiB = 150;

export async function requestsStaySmall(suite: DoorSuite): Promise<void> {
  const { checks, sides } = suite;
  const zeros = Buffer.alloc(bombMiB * MiB);
  const bombs: [encoding: string, title: string, body: Buffer][] = [
    ['gzip', 'gzip', await promisify(gzip)(zeros)],
    ['gzip', `gzip in ${bombMiB} parts`, Buffer.concat(Array<Buffer>(bombMiB).fill(await promisify(gzip)(zeros.subarray(0, MiB))))],
    ['gzip', 'gzip with padding between its parts', Buffer.concat([await promisify(gzip)('x'), Buffer.alloc(1), await promisify(gzip)(zeros)])],
    ['deflate', 'deflate', await promisify(deflate)(zeros)],
    ['deflate', 'deflate without a head', await promisify(deflateRaw)(zeros)],
    ['GZIP', 'gzip in capitals', await promisify(gzip)(zeros)],
  ];
  checks.heading(`Traces of ${bombMiB} MiB after they are unpacked`);
  await suite.variants(bombs, ([, title, body]) => `${title}, ${Math.round(body.length / 1024)} KiB sent`, ([encoding,, body]) => async side => {
    const before = resetPeak(side);
    const { status, answer } = await post(side, '/v1/traces', body, {
      ...bearer(suite.member.token), 'content-type': 'application/x-protobuf', 'content-encoding': encoding, 'x-mlflow-experiment-id': '0',
    });
    const grown = peakMiB(side) - before;
    return (status === 400 || isTooLarge(status, answer)) && grown < growthMiB ? undefined : `status ${status}, the server grew by ${grown} MiB`;
  });

  const crowds: [type: string, title: string, body: Buffer][] = [
    ['json', 'objects', Buffer.from(`{"resourceSpans":[${'{},'.repeat(2_000_000)}{}]}`)],
    ['x-protobuf', 'resources', Buffer.alloc(16 * MiB, Buffer.from([0x0a, 0]))],
    ['x-protobuf', 'spans', framed(1, framed(2, Buffer.alloc(16 * MiB, Buffer.from([0x12, 0]))))],
  ];
  checks.heading('Traces of very many empty pieces do not block others');
  await suite.variants(crowds, ([type, title, body]) => `${title} in ${type}, ${Math.round(body.length / MiB)} MiB`, ([type,, body]) => async side =>
    costs(side, await promisify(gzip)(body), { ...bearer(suite.member.token), 'content-type': `application/${type}`, 'content-encoding': 'gzip', 'x-mlflow-experiment-id': '0' }));
  await suite.attack('100 000 empty parts of gzip', async side => {
    const empty = await promisify(gzip)('');
    return costs(side, Buffer.alloc(empty.length * 100_000, empty), {
      ...bearer(suite.member.token), 'content-type': 'application/x-protobuf', 'content-encoding': 'gzip', 'x-mlflow-experiment-id': '0',
    });
  });

  const limit = Number(suite.deployment.container('mlflow').env.SECURE_MLFLOW_API_LIMIT_MIB ?? 32);
  const body = Buffer.from(JSON.stringify({ name: 'x'.repeat((limit + 1) * MiB) }));
  checks.heading(`A call of more than ${limit} MiB`);
  await suite.variants(['/api/2.0/mlflow/experiments/search', '/ajax-api/2.0/mlflow/experiments/search', '/graphql', '/gateway/mlflow/v1/chat/completions', '/v1/traces', '/ajax-api/3.0/mlflow/mcp-servers', '/ajax-api/2.0/mlflow/upload-artifact?run_uuid=x&path=x'].flatMap(path => [[path, 'with its length'], [path, 'in chunks']]), words => words.join(' '), ([path, way]) => async side => {
    const { status, answer } = await post(side, path, body, {
      ...bearer(suite.member.token), 'content-type': 'application/json', 'x-mlflow-experiment-id': '0', ...way === 'in chunks' && { 'transfer-encoding': 'chunked' },
    });
    return isTooLarge(status, answer) ? undefined : `status ${status}: ${answer.slice(0, 100)}`;
  });
  await checks.check('(a smaller call is accepted, and a larger artifact)', async () => {
    const { status, answer } = await post(sides.real, '/api/2.0/mlflow/experiments/search', Buffer.from(`${' '.repeat((limit - 1) * MiB)}{"max_results": 1}`), { ...bearer(suite.member.token), 'content-type': 'application/json' });
    assert.equal(status, 200, answer);
    const upload = await suite.call(sides.real, '/api/2.0/mlflow-artifacts/artifacts/limits/large.bin', { method: 'PUT', body });
    assert.equal(upload.status, 200, upload.body);
  });
}

/** The cost of traces for others: memory, or a late answer. */
async function costs(side: Side, body: Buffer, headers: OutgoingHttpHeaders): Promise<string | undefined> {
  const before = resetPeak(side);
  const sent = post(side, '/v1/traces', body, headers).catch(() => undefined);
  await sleep(500); // until it has arrived at MLflow
  const health = await Promise.race([fetch(`${side.server.url}/health`).then(() => undefined, () => 'gone'), sleep(2000, 'no answer in 2 s')]);
  await sent;
  const grown = peakMiB(side) - before;
  return health === undefined && grown < growthMiB ? undefined : `health check: ${health ?? 'answered'}; the server grew by ${grown} MiB`;
}

/** A field of protobuf that contains bytes. */
function framed(field: number, content: Buffer): Buffer {
  const length = [];
  let size = content.length;
  for (; size > 127; size = Math.floor(size / 128)) {
    length.push(128 + size % 128);
  }
  return Buffer.concat([Buffer.from([field * 8 + 2, ...length, size]), content]);
}

export async function nobodyStopsTheServer(suite: DoorSuite): Promise<void> {
  const { checks, provider, sides } = suite;
  checks.heading('While a provider does not answer, others are served');
  const blocking: [title: string, endpoint: (side: Side) => Promise<string>][] = [
    ['an access token of Vertex AI', side => suite.endpoint(side, { provider: 'vertex_ai', secret: { vertex_credentials: serviceAccount(provider.silent) }, config: { vertex_project: 'played' }, model: 'gemini-2.5-flash' })],
    ['the discovery of Databricks', side => suite.endpoint(side, { provider: 'databricks', config: { api_base: provider.silent } })],
    ['a chat', side => suite.endpoint(side, { provider: 'openai', config: { api_base: provider.silent } })],
  ];
  await suite.variants(blocking, ([title]) => title, ([, endpointOf]) => async side => {
    const endpoint = await endpointOf(side);
    return slowWhile(suite, side, [endpoint, endpoint]);
  });
  await checks.check('50 calls at the same time', async () => {
    const endpoint = await suite.endpoint(sides.open, { provider: 'openai', config: { api_base: provider.silent } });
    assert.equal(await slowWhile(suite, sides.open, Array<string>(50).fill(endpoint)), undefined);
  });

  checks.heading('A call of the AI gateway that fails');
  const failing: [title: string, endpoint: (side: Side) => Promise<string>][] = [
    ['because there is no access token', side => suite.endpoint(side, { provider: 'vertex_ai', secret: { vertex_credentials: serviceAccount(`${provider.url}/nothing`) }, config: { vertex_project: 'played' }, model: 'gemini-2.5-flash' })],
    ['because the key is invalid', side => suite.endpoint(side, { provider: 'vertex_ai', secret: { vertex_credentials: '{}' }, config: { vertex_project: 'played' }, model: 'gemini-2.5-flash' })],
  ];
  await suite.variants(failing, ([title]) => `${title}: writes of others do not fail`, ([, endpointOf]) => async side => {
    const endpoint = await endpointOf(side);
    const statuses: number[] = [];
    for (let round = 0; round < 5; round += 1) {
      await Promise.all(Array.from({ length: 12 }, () => suite.call(side, search.split('?')[0], json({ max_results: 1 })))); // to open as many connections of the proxy
      await Promise.all(Array.from({ length: 6 }, () => suite.chat(side, endpoint)));
      for (let index = 0; index < 12; index += 1) {
        statuses.push((await suite.call(side, search.split('?')[0], json({ max_results: 1 }))).status);
      }
    }
    const lost = statuses.filter(status => status !== 200);
    return lost.length === 0 ? undefined : `of ${statuses.length} writes of others ${lost.length} were answered ${[...new Set(lost)].join(', ')}`;
  });
}

/** The requests that are not answered in time while calls of the AI gateway wait for their provider. */
async function slowWhile(suite: DoorSuite, side: Side, endpoints: string[]): Promise<string | undefined> {
  const before = suite.provider.arrivals.length;
  suite.provider.hold();
  const calls = endpoints.map(endpoint => suite.chat(side, endpoint).catch(() => undefined));
  for (let tries = 0; suite.provider.arrivals.length === before && tries < 600; tries += 1) {
    await sleep(50);
  }
  assert(suite.provider.arrivals.length > before, 'no call has reached the provider');
  await sleep(500);
  const slow: string[] = [];
  for (const [what, request] of [
    ['the health check', () => fetch(`${side.server.url}/health`)],
    ['the API', () => suite.call(side, search)],
    ['a list of the AI gateway', () => suite.call(side, '/gateway/mlflow/v1/models')],
  ] as const) {
    const answer = await Promise.race([request().catch(() => ({ status: 0 })), sleep(5000, undefined)]);
    if (answer?.status !== 200) {
      slow.push(`${what}: ${answer === undefined ? 'no answer in 5 s' : answer.status}`);
    }
  }
  suite.provider.release();
  await Promise.all(calls);
  return slow.length === 0 ? undefined : slow.join('; ');
}

function isTooLarge(status: number, answer: string): boolean {
  if (status !== 413) {
    return false;
  }
  const { error_code: code, message } = JSON.parse(answer) as { error_code?: string; message?: string };
  return typeof code === 'string' && typeof message === 'string';
}

/** The most memory that a process of the server has used since `resetPeak`. */
function peakMiB({ server }: Side): number {
  return Math.max(...processesOf(server.pid).map(pid => Math.round(Number(/^VmHWM:\s+(\d+) kB$/m.exec(read(`/proc/${pid}/status`))?.[1] ?? 0) / 1024)));
}

function resetPeak(side: Side): number {
  processesOf(side.server.pid).forEach(pid => writeFileSync(`/proc/${pid}/clear_refs`, '5'));
  return peakMiB(side);
}

async function post(
  side: Side, path: string, body: Buffer, headers: OutgoingHttpHeaders,
): Promise<{ readonly status: number; readonly answer: string }> {
  const { status, body: answer } = await side.send(path, { method: 'POST', headers, body });
  return { status, answer };
}

