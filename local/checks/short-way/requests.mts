/** The requests to both servers of this check, in tables. */

import type http from 'node:http';
import { json, withLength, type Message } from '../../clients/http.mjs';
import type { Deployment } from '../../deployment.mjs';
import { routesOf } from '../access/routes.mjs';
import { search } from '../api.mjs';

export const artifacts = '/api/2.0/mlflow-artifacts/artifacts';
export const MiB = 2 ** 20;
/** As sent by a browser. */
export const compressing = { 'accept-encoding': 'gzip, deflate, br' };

export interface Sent {
  readonly title: string;
  readonly path: (ids: Record<string, unknown>) => string;
  readonly message: (ids: Record<string, unknown>) => Message;
}

/** Each method of each route: with existing objects, without parameters, and with invalid bodies. */
export async function everyRoute(deployment: Deployment): Promise<Sent[]> {
  const routes = await routesOf(deployment);
  return routes.filter(({ path }) => !path.includes('/assistant/') && !path.includes('/gateway/supported-') && !path.endsWith('/demo/generate')).flatMap(({ method, path }) => {
    const query = (ids: Record<string, unknown>) => String(new URLSearchParams(Object.entries(ids).filter(([, value]) => typeof value === 'string') as [string, string][]));
    const address = (ids: Record<string, unknown>) => path.replaceAll(/{(\w+)}/g, (_, name: string) => encodeURIComponent(String(ids[name] ?? '1')).replaceAll('%2F', '/'));
    const sent = (title: string, message: Sent['message'], asked: (ids: Record<string, unknown>) => string = () => '') => (
      { title: `${method} ${path}, ${title}`, path: (ids: Record<string, unknown>) => `${address(ids)}${asked(ids)}`, message });
    if (method === 'GET' || method === 'HEAD' || method === 'OPTIONS') {
      return [sent('a valid request', () => ({ method }), ids => `?${query(ids)}`), sent('without parameters', () => ({ method }))];
    }
    const wrong = { 'no body': '', 'invalid JSON': '{"a', 'a list': '["x"]', 'numbers for text': '{"name":1,"experiment_id":1,"run_id":{},"key":[],"max_results":"x"}' };
    return [
      ...Object.entries(wrong).map(([title, body]) => sent(title, () => withLength({ method, body, headers: { 'content-type': 'application/json' } }))),
      sent('as plain text', ids => withLength({ method, body: JSON.stringify(ids), headers: { 'content-type': 'text/plain' } })),
      sent('a valid request', ids => withLength({ ...json(ids), method })),
    ];
  });
}

const at = (path: string, message: Message = {}): Sent => ({ title: `${message.method ?? 'GET'} ${path.slice(0, 100)} ${JSON.stringify(message.headers ?? '')}`, path: () => path, message: () => message });
const run = (fields: object, headers: http.OutgoingHttpHeaders = {}): Message => ({ method: 'POST', headers: { 'content-type': 'application/json', ...headers }, body: JSON.stringify(fields) });
const create = '/api/2.0/mlflow/experiments/create';
/** Unusual requests, which do not depend on stored data. */
export const unusual: Sent[] = [
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

/** Rows of one batch, including mistakes of clients. */
const metric = (key: string, value: number | string, step = 0) => ({ key, value, step, timestamp: 1 });
const batches: Record<string, object> = {
  'nothing': {},
  'a metric twice': { metrics: [metric('twice', 1), metric('twice', 1)] },
  'steps out of order': { metrics: [3, 1, 2].map(step => metric('steps', step, step)) },
  'a thousand metrics': { metrics: Array.from({ length: 1000 }, (_, index) => metric(`many ${index % 500}`, index, index)) },
  'one too many': { metrics: Array.from({ length: 1001 }, (_, index) => metric('more', index, index)) },
  'no numbers': { metrics: ['NaN', 'Infinity', '-Infinity'].map(value => metric(value, value)) },
  'a key that is too long': { metrics: [metric('x'.repeat(300), 1)] },
  'a parameter with two values': { params: [{ key: 'two', value: '1' }, { key: 'two', value: '2' }] },
  'a parameter again with another value': { metrics: [metric('beside', 1)], params: [{ key: 'first', value: 'x' }, { key: 'learning', value: 'y' }] },
  'a value that is too long': { params: [{ key: 'long', value: 'x'.repeat(7000) }], tags: [{ key: 'long', value: 'x'.repeat(9000) }] },
  'tags again': { tags: [{ key: 'k', value: 'other' }, { key: 'k', value: 'last' }, { key: 'ü', value: '☃' }] },
  'a character that PostgreSQL refuses': { tags: [{ key: 'zero', value: 'x\0y' }], metrics: [metric('before', 1)] },
};
const ofRun = (title: string, path: string, message: (ids: Record<string, unknown>) => Message = () => ({})): Sent => (
  { title, path: ids => path.replaceAll(/{(\w+)}/g, (_, name: string) => String(ids[name])), message });
/** Requests about one run, sent one after the other. */
export const onRun: Sent[] = [
  ofRun('a file of JSON', `${artifacts}/{experiment_id}/{run_id}/artifacts/table.JSON`, () => ({ method: 'PUT', body: JSON.stringify(Array.from({ length: 2000 }, (_, index) => index)) })),
  ofRun('a parameter of a run', '/api/2.0/mlflow/runs/log-parameter', ({ run_id }) => json({ run_id, key: 'learning', value: 'x' })),
  ...Object.entries(batches).flatMap(([title, batch]) => [
    ofRun(`log-batch with ${title}`, '/api/2.0/mlflow/runs/log-batch', ({ run_id }) => json({ run_id, ...batch })),
    ofRun(`a run after ${title}`, '/api/2.0/mlflow/runs/get?run_id={run_id}'),
  ]),
  ...['file.txt', 'table.JSON', 'nothing', '', '../x', 'file.txt/', '%66ile.txt'].flatMap(name => [{}, { range: 'bytes=0-0' }, { range: 'bytes=99999999-' }, { 'if-none-match': '*' }].map(headers => (
    ofRun(`get-artifact of ${name} ${JSON.stringify(headers)}`, `/get-artifact?run_uuid={run_id}&path=${name}`, () => ({ headers }))))),
  ...['GET', 'HEAD'].map(method => ofRun(`${method} of an artifact that is JSON`, '/get-artifact?run_uuid={run_id}&path=table.JSON', () => ({ method, headers: compressing }))),
  ofRun('a part of an artifact that is JSON', '/get-artifact?run_uuid={run_id}&path=table.JSON', () => ({ headers: { ...compressing, range: 'bytes=0-3999' } })),
  ...['/', '/x/..', '%2F', ''].map(end => ofRun(`an artifact with ${end} after its name`, `${artifacts}/{artifact_path}${end}`)),
  ofRun('a folder as an artifact', `${artifacts}/{experiment_id}/{run_id}/artifacts`),
  ofRun('a file below a file', `${artifacts}/{artifact_path}/below`, () => ({ method: 'PUT', body: 'x' })),
  ofRun('a name of both a file and a folder', `${artifacts}/{artifact_path}`),
  ofRun('a name that S3 refuses', `${artifacts}/${'x/'.repeat(600)}x`, () => ({ method: 'PUT', body: 'x' })),
  ofRun('the artifact of such a name', `${artifacts}/${'x/'.repeat(600)}x`),
];

/** Answers that differ on purpose, with the reason. */
export const onPurpose: Record<string, string> = {
  'a folder as an artifact': 'MLflow ends the failed answer as if it were complete; here the connection breaks, so the client sees the failure',
  'a name of both a file and a folder': 'MLflow treats it as a folder, and fails; here the file comes first',
};
