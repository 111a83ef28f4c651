/** Attempts of a reader to get a higher level: headers, spellings of paths, trailers, mutations. Each request is a write that editors may make. */

import assert from 'node:assert/strict';
import { addressOf, asked, digests, lacksLevel, type Levels } from './levels.mjs';
import { api, type Seeds } from './seeds.mjs';
import { json, raw } from '../../clients/http.mjs';
import type { Checks } from '../checks.mjs';

const create = `${api}/runs/create`;
const admin = addressOf('admin');

/** `groups` are those of admins. */
function forgeries(groups: string): Record<string, string[]> {
  return {
    'an address': [`X-Forwarded-Email: ${admin}`],
    'groups': [`X-Forwarded-Groups: ${groups}`],
    'both, with underscores': [`X_Forwarded_Groups: ${groups}`, `X_Forwarded_Email: ${admin}`],
    'both, with other underscores': [`X-Forwarded_Groups: ${groups}`, `X-Forwarded_Email: ${admin}`],
    'a user': [`X-Forwarded-User: ${admin}`, `X-Forwarded-Preferred-Username: ${admin}`],
    'headers of other proxies': [`X-Auth-Request-Email: ${admin}`, `X-Auth-Request-Groups: ${groups}`, `Remote-User: ${admin}`, 'X-MLflow-Authorization: Basic YWRtaW46YWRtaW4='],
    'another method': ['X-HTTP-Method-Override: GET', 'X-HTTP-Method: GET', 'X-Method-Override: GET'],
    'another path': ['X-Original-URL: /health', 'X-Rewrite-URL: /health', 'X-Forwarded-Uri: /health', 'X-Forwarded-Prefix: /health'],
    'a request to drop the groups': ['Connection: close, X-Forwarded-Groups'],
    'a request to drop the groups, with forged ones': ['Connection: close, X-Forwarded-Groups', `X-Forwarded-Groups: ${groups}`],
    'a request to drop the address': ['Connection: close, X-Forwarded-Email'],
    'a request to drop everything, with forged values': [
      'Connection: close, X-Forwarded-Email, X-Forwarded-User, X-Forwarded-Groups', `X-Forwarded-Email: ${admin}`, `X-Forwarded-Groups: ${groups}`,
    ],
    'two lists of headers to drop': ['Connection: close, X-Forwarded-Groups', 'Connection: X-Forwarded-Email', `X-Forwarded-Email: ${admin}`],
  };
}

/** Spellings of the path of a write, which some program could read as another path. */
function spellings(path: string): string[] {
  return [
    `${path}/`, `${path}//`, `/${path}`, path.replace('/runs/', '//runs/'), path.replace('/runs/', '/./runs/'), path.replace('/runs/', '/x/../runs/'), path.replace('runs/create', 'runs%2Fcreate'),
    path.replace('create', '%63reate'), path.replace('create', 'create%20'), path.replace('create', 'create;x'), path.replace('create', 'create%00'), path.replace('create', 'create%0a'),
    `${path}?_method=GET`, `${path}#/search`, path.replace('create', 'CREATE'), path.replace('/runs/create', '/runs/search/../create'), path.replace('/runs/create', '/runs/search%2f..%2fcreate'),
    path.replace('/runs/create', '/experiments/search/../../runs/create'), path.replace('2.0', '3.0'), path.replace('2.0', '%32.0'), path.replace('mlflow', 'mlflow%2f'), `http://127.0.0.1${path}`,
    `http://127.0.0.1/graphql${path}`, path.replace('/runs', '\\runs'), path.replaceAll('/', '%2F'), `/graphql/..${path}`, `/graphql/%2e%2e${path}`, `/health/..${path}`, `/health/%2e%2e${path}`,
    `/health?x=${path}`, `/static-files/..${path}`, `/static-files/%2e%2e${path}`,
  ];
}
const methods = ['POST', 'post', 'GET', 'HEAD', 'OPTIONS', 'PUT', 'PATCH', 'TRACE', 'PROPFIND'];

interface Places {
  /** The URL of oauth2-proxy. */
  readonly proxy: string;
  /** The URL of MLflow behind it. */
  readonly server: string;
  /** The groups of admins. */
  readonly groups: string;
}

export async function checkAttacks(checks: Checks, at: Levels, seeds: Seeds, { proxy, server, groups }: Places): Promise<void> {
  const { experiment_id } = await seeds.ids();
  const body = JSON.stringify({ experiment_id });
  const send = (url: string, request: string, headers: string[]) => raw(url, [
    `${request} HTTP/1.1`, `Host: ${new URL(url).host}`, ...headers, ...headers.some(header => header.startsWith('Connection:')) ? [] : ['Connection: close'],
    'Content-Type: application/json', `Content-Length: ${body.length}`, '', body,
  ].join('\r\n'), 3000);
  const statusOf = (answer: string) => Number(/^HTTP\/1\.1 (\d+)/.exec(answer)?.[1] ?? 0);
  const as = (level: 'reader' | 'editor') => `Authorization: Bearer ${at.tokens[level]}`;

  checks.heading('A reader cannot get a higher level');
  await checks.check('with forged headers; the same write as an editor succeeds', async () => {
    const before = await digests(at.deployment);
    const all = Object.entries(forgeries(groups));
    for (const [title, headers] of all) {
      assert.equal(statusOf(await send(proxy, `POST ${create}`, [as('reader'), ...headers])), 403, title);
    }
    assert.deepEqual(await digests(at.deployment), before);
    assert.equal(statusOf(await send(proxy, `POST ${create}`, [as('editor')])), 200);
    return `${all.length} sets`;
  });
  await checks.check('by dropping headers: an editor whose groups or address are dropped loses the level', async () => {
    assert.equal(statusOf(await send(proxy, `POST ${create}`, [as('editor'), 'Connection: close, X-Forwarded-Groups'])), 403);
    assert.equal(statusOf(await send(proxy, `GET ${api}/experiments/search?max_results=1`, [as('editor'), 'Connection: close, X-Forwarded-Email'])), 403);
    assert.equal(statusOf(await send(proxy, `GET ${api}/experiments/search?max_results=1`, [as('editor'), 'Connection: close'])), 200);
  });
  await checks.check('with duplicate headers, behind the proxy', async () => {
    const me = `X-Forwarded-Email: ${addressOf('reader')}`;
    for (const headers of [[me, 'X-Forwarded-Groups: x', `X-Forwarded-Groups: ${groups}`], [me, `X-Forwarded-Email: ${admin}`], [me, 'Trailer: X-Forwarded-Groups']]) {
      const status = statusOf(await send(server, `POST ${create}`, headers));
      assert(status === 403, `${headers.join('; ')}: ${status}`);
    }
  });
  await checks.check('with trailers', async () => {
    const trailing = (url: string, headers: string[]) => raw(url, [
      `POST ${create} HTTP/1.1`, `Host: ${new URL(url).host}`, ...headers, 'Content-Type: application/json', 'Transfer-Encoding: chunked', 'Connection: close', '',
      body.length.toString(16), body, '0', `X-Forwarded-Groups: ${groups}`, '', '',
    ].join('\r\n'), 3000);
    for (const headers of [[], ['Trailer: X-Forwarded-Groups']]) {
      assert.equal(statusOf(await trailing(proxy, [as('reader'), ...headers])), 403);
    }
    const answer = await trailing(proxy, [as('editor')]);
    assert.equal(statusOf(answer), 200, answer);
  });
  await checks.check('with another spelling of a write', async () => {
    const before = await digests(at.deployment);
    const all = [create, create.replace('/api', '/ajax-api')].flatMap(spellings);
    const got: string[] = [];
    for (const path of all) {
      for (const method of methods) {
        const answer = await send(proxy, `${method} ${path}`, [as('reader')]);
        if (/"run"/.test(answer)) {
          got.push(`${method} ${path}: ${answer.slice(0, 100)}`);
        }
      }
    }
    assert.deepEqual(got, []);
    assert.deepEqual(await digests(at.deployment), before);
    const asEditor = await Promise.all(all.map(async path => statusOf(await send(proxy, `POST ${path}`, [as('editor')]))));
    const through = asEditor.filter(status => status === 200).length;
    assert(through >= 4, `${through} spellings work for an editor, so this proves nothing`);
    return `${all.length * methods.length} requests; ${through} of the spellings work for an editor`;
  });
  await checks.check('with a mutation of GraphQL: all mutations of the schema only read', async () => {
    const schema = 'from mlflow.server.graphql.graphql_schema_extensions import schema; print(sorted(schema.graphql_schema.mutation_type.fields))';
    const stdout = await at.deployment.besideMlflow(schema);
    assert.equal(stdout.split('\n').at(-1), "['mlflowSearchDatasets', 'mlflowSearchRuns', 'testMutation']");
  });
  await checks.check('each refused request gets an answer of one line with the reason', async () => {
    const { status, body: text } = await asked(at, 'reader', create, json({ experiment_id }));
    assert(lacksLevel(status, text), text);
    assert.deepEqual(JSON.parse(text), { error_code: 'PERMISSION_DENIED', message: `${addressOf('reader')} is a reader here, and POST ${create} needs an editor: ask the administrators of this server` });
  });
}
