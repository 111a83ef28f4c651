/** MLflow rejects requests without a name from the proxy, and writes from pages of other sites. */

import assert from 'node:assert/strict';
import { unique, type DoorAttempt, type DoorSuite, type Side } from './suite.mjs';
import { bearer, json, raw, type Message } from '../../clients/http.mjs';
import { assistant, search } from '../api.mjs';

const named = 'X-Forwarded-Email: someone@example.com';

/** A request directly to MLflow, as another program in the task could send it: its first line and the headers that name a person. */
const straight: [title: string, line: string, headers: string[]][] = [
  ['without a name', `GET ${search}`, []],
  ['with an empty name', `GET ${search}`, ['X-Forwarded-Email:']],
  ['with a blank name', `GET ${search}`, ['X-Forwarded-Email: \t ']],
  ['with two names', `GET ${search}`, [named, 'X-Forwarded-Email: admin@example.com']],
  ['with two names in one', `GET ${search}`, [`${named}, admin@example.com`]],
  ['with the same name twice', `GET ${search}`, [named, named]],
  ['with a trailer announced', `GET ${search}`, [named, 'Trailer: X-Forwarded-Email']],
  ['with another header for the name', `GET ${search}`, ['X-Forwarded-User: someone@example.com', 'X-Auth-Request-Email: someone@example.com']],
  ['with the name misspelt', `GET ${search}`, ['X_Forwarded_Email: someone@example.com']],
  ['to the page', 'GET /', []],
  ['to a file of the page', 'GET /static-files/favicon.ico', []],
  ['to the version', 'GET /version', []],
  ['to a path outside the API', 'GET /gateway/mlflow/v1/models', []],
  ['to traces', 'POST /v1/traces', []],
  ['to GraphQL', 'POST /graphql', []],
  ['to the metrics', 'GET /metrics', []],
  ['to the assistant', `GET ${assistant}`, []],
  ['to the assistant, with a name', `GET ${assistant}`, [named]],
  ['to the health check, as a write', 'POST /health', []],
  ['behind the health check', `GET /health/..${search}`, []],
  ['behind the health check, encoded', `GET /health/%2e%2e${search}`, []],
  ['with the health check as its query', `GET ${search}&/health`, []],
  ['with a whole URL', `GET http://127.0.0.1/health${search}`, []],
  ['with a WebSocket', `GET ${search}`, ['Connection: Upgrade', 'Upgrade: websocket', 'Sec-WebSocket-Version: 13', 'Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==']],
];

export async function nobodyIsSomebody(suite: DoorSuite): Promise<void> {
  const { checks, member, sides: { real } } = suite;
  checks.heading('Directly to MLflow, without the proxy, requests are rejected');
  await checks.check('(the health check, and a request with a name, are accepted)', async () => {
    for (const [line, headers] of [['GET /health', []], [`GET ${search}`, [named]]] as const) {
      assert.match(await answerTo(real.server, line, headers), /^HTTP\/1\.1 200 /, line);
    }
  });
  await suite.variants(straight, ([title]) => title, ([, line, headers]) => async side => {
    const answer = await answerTo(side.server, line, headers);
    return refused(answer) ? undefined : answer.split('\r\n')[0];
  }, real);

  checks.heading('Through the proxy, clients cannot remove the name');
  await suite.variants(['X-Forwarded-Email', 'x-forwarded-email, close', 'Keep-Alive, X-Forwarded-Email', 'X-Forwarded-Email, X-Forwarded-User, X-Forwarded-Groups'], list => `Connection: ${list}`, list => async side => {
    const { status } = await side.send(search, { headers: { ...bearer(member.token), connection: list } });
    return status === 403 ? undefined : `status ${status}`;
  }, real);
  await suite.variants([named, 'X-Forwarded-Email: '], header => `adds a name with ${header}`, header => async side => {
    // Only the name from the proxy counts. A name that the client sends must not arrive, neither first nor second.
    const [name, value] = header.split(/: ?/);
    const { status } = await side.send(search, { headers: { ...bearer(member.token), connection: `close, ${name}`, [name]: value } });
    return status === 403 ? undefined : `status ${status}`;
  }, real);
}

export async function noOtherSiteWrites(suite: DoorSuite): Promise<void> {
  const { checks, member, sides } = suite;
  const writes: [method: string, path: string, type: string, body: string][] = [
    ['POST', '/gateway/x/mlflow/invocations', 'text/plain', '{"messages": []}'],
    ['POST', '/gateway/openai/v1/chat/completions', 'text/plain', '{"model": "x"}'],
    ['POST', '/gateway/proxy/x/v1/x', 'text/plain', '{}'],
    ['POST', '/v1/traces', 'application/json', '{"resourceSpans": []}'],
    ['POST', '/graphql', 'application/json', '{"query": "{ __typename }"}'],
    ['POST', '/ajax-api/2.0/mlflow/experiments/create', 'text/plain', `{"name": "${unique()}"}`],
    ['POST', '/api/2.0/mlflow/experiments/create', 'text/plain', `{"name": "${unique()}"}`],
    ['PATCH', '/api/2.0/mlflow/registered-models/update', 'text/plain', '{"name": "x"}'],
    ['DELETE', '/api/2.0/mlflow/registered-models/delete', 'text/plain', '{"name": "x"}'],
    ['PUT', '/api/2.0/mlflow-artifacts/artifacts/x', 'text/plain', 'x'],
    ['POST', '/ajax-api/3.0/jobs/', 'text/plain', '{}'],
    ['POST', '/ajax-api/3.0/mlflow/ui-telemetry', 'text/plain', '{"records": []}'],
    ['POST', '/ajax-api/3.0/mlflow/mcp-servers', 'text/plain', '{}'],
    ['POST', '/', 'text/plain', '{}'],
  ];
  const write = (path: string, headers: Message['headers'], [method,, type, body]: typeof writes[number]): DoorAttempt => async side => {
    const { status, body: answer } = await side.send(path, { method, body, headers: { ...headers, 'cookie': member.cookie, 'content-type': type, 'content-length': body.length } });
    return status === 403 ? undefined : `status ${status} ${answer.slice(0, 100)}`;
  };
  const { host } = new URL(sides.real.url);
  const origins = ['https://evil.example', 'null', `https://sibling.${host}`, `https://${host}.evil.example`, `https://${host.split(':')[0]}.evil.example`, `http://${host}`, 'http://localhost:3000', 'http://127.0.0.1:3000', `https://${host.split(':')[0]}:1`, `${sides.real.url}/`, ''];

  checks.heading('A page of another site cannot write');
  await checks.check('(a page of the server and a program can)', async () => {
    for (const side of [sides.real, sides.open, sides.weak]) {
      for (const origin of [{ origin: side.url }, { 'origin': side.url, 'sec-fetch-site': 'same-origin' }, {}]) {
        const { status, body } = await side.send('/ajax-api/2.0/mlflow/experiments/create', suite.session({ ...json({ name: unique() }), headers: { ...origin, 'content-type': 'application/json' } }));
        assert.equal(status, 200, body);
      }
    }
  });
  await suite.variants(writes, ([method, path]) => `${method} ${path}`, variant => write(variant[1], { origin: 'https://evil.example' }, variant), sides.real);
  await suite.variants(writes.slice(0, 3), ([method, path]) => `${method} ${path}, where the AI gateway is on`, variant => write(variant[1], { origin: 'https://evil.example' }, variant));
  await suite.variants(origins, origin => `from ${origin || 'an empty origin'}`, origin => write('/ajax-api/2.0/mlflow/experiments/create', { origin }, ['POST', '', 'text/plain', `{"name": "${unique()}"}`]), sides.real);
  await suite.variants(['cross-site', 'same-site'], value => `marked ${value} by the browser, without an origin`, value =>
    write('/ajax-api/2.0/mlflow/experiments/create', { 'sec-fetch-site': value }, ['POST', '', 'text/plain', `{"name": "${unique()}"}`]), sides.real);
  await checks.check('and cannot read: no answer allows another origin', async () => {
    for (const origin of origins) {
      for (const method of ['GET', 'OPTIONS']) {
        const { headers } = await sides.real.send(search, { method, headers: { ...bearer(member.token), origin, 'access-control-request-method': 'POST' } });
        assert([undefined, sides.real.url].includes(headers['access-control-allow-origin']), `${method} of ${origin}: ${headers['access-control-allow-origin']}`);
      }
    }
  });
}

/** Whether an answer is a refusal of this request: by the door, or by a server that does not accept it as a request. */
function refused(answer: string): boolean {
  return /^HTTP\/1\.1 (400|403) /.test(answer) || answer === '';
}

async function answerTo({ url, host = new URL(url).host }: Side['server'], line: string, headers: readonly string[]): Promise<string> {
  const write = !line.startsWith('GET');
  return raw(url, [
    `${line} HTTP/1.1`, `Host: ${host}`, ...headers, ...headers.some(header => header.startsWith('Connection:')) ? [] : ['Connection: close'],
    ...write ? ['Content-Type: application/json', 'Content-Length: 2', '', '{}'] : ['', ''],
  ].join('\r\n'), 2000);
}
