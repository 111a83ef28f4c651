/** No data of a sign-in is sent to an AI provider. */

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { gateway, type DoorAttempt, type DoorSuite } from './suite.mjs';
import { bearer, json, type Message } from '../../clients/http.mjs';
import type { Arrival } from '../../providers/ai-provider.mjs';

interface Route {
  /** MLflow's name of the route. */
  readonly route: string;
  readonly provider: string;
  /** Fields of the body in addition to the endpoint's name. */
  readonly body: object;
  /** Whether MLflow itself passes no header on. */
  readonly quiet?: boolean;
}

const messages = [{ role: 'user', content: 'hello' }];
const contents = [{ role: 'user', parts: [{ text: 'hello' }] }];

const routes: Route[] = [
  { route: '/gateway/{endpoint_name}/mlflow/invocations', provider: 'openai', body: { messages }, quiet: true },
  { route: '/gateway/{endpoint_name}/mlflow/invocations', provider: 'openai', body: { input: 'hello' }, quiet: true },
  { route: '/gateway/mlflow/v1/chat/completions', provider: 'openai', body: { messages }, quiet: true },
  { route: '/gateway/mlflow/v1/chat/completions', provider: 'openai', body: { messages, stream: true }, quiet: true },
  { route: '/gateway/typesafe/v1/systemone', provider: 'typesafe', body: { state: {}, questions: [] }, quiet: true },
  { route: '/gateway/openai/v1/chat/completions', provider: 'openai', body: { messages } },
  { route: '/gateway/openai/v1/chat/completions', provider: 'ollama', body: { messages } },
  { route: '/gateway/openai/v1/chat/completions', provider: 'openai', body: { messages, stream: true } },
  { route: '/gateway/openai/v1/embeddings', provider: 'openai', body: { input: 'hello' } },
  { route: '/gateway/openai/v1/responses', provider: 'openai', body: { input: 'hello' } },
  { route: '/gateway/openai/v1/responses', provider: 'openai', body: { input: 'hello', stream: true } },
  { route: '/gateway/openai/v1/responses/compact', provider: 'openai', body: { previous_response_id: '1' } },
  { route: '/gateway/anthropic/v1/messages', provider: 'anthropic', body: { messages, max_tokens: 1 } },
  { route: '/gateway/anthropic/v1/messages', provider: 'anthropic', body: { messages, max_tokens: 1, stream: true } },
  { route: '/gateway/anthropic/v1/messages', provider: 'databricks', body: { messages, max_tokens: 1 } },
  { route: '/gateway/gemini/v1beta/models/{endpoint_name}:generateContent', provider: 'databricks', body: { contents } },
  { route: '/gateway/gemini/v1beta/models/{endpoint_name}:streamGenerateContent', provider: 'databricks', body: { contents } },
  { route: '/gateway/proxy/{endpoint_name}/{path:path}', provider: 'openai', body: { messages } },
  { route: '/gateway/proxy/{endpoint_name}/{path:path}', provider: 'anthropic', body: { messages } },
  { route: '/gateway/proxy/{endpoint_name}/{path:path}', provider: 'portkey', body: { messages } },
];
/** A route without a provider. */
const listing = 'GET /gateway/mlflow/v1/models';

export async function nothingOfTheSignInLeaves(suite: DoorSuite): Promise<void> {
  const { checks, deployment, member } = suite;
  const ways = new Map<string, Message>([
    ['session', suite.session()],
    ['token', { headers: bearer(member.token) }],
    ...['claude-cli/2.0.1 (external, cli)', 'codex_cli_rs/0.50.0', 'GeminiCLI/0.9.0/gemini-2.5-pro (linux; x64)'].map(agent =>
      [agent.split('/')[0], { headers: { ...bearer(member.token), 'user-agent': agent } }] as const),
  ]);

  checks.heading(`The AI provider gets no data of a sign-in (each with: ${[...ways.keys()].join(', ')})`);
  await checks.check('(the routes below are all routes of MLflow)', async () => {
    const stdout = await deployment.besideMlflow(readFileSync(join(import.meta.dirname, 'gateway_routes.py'), 'utf8'));
    const served = JSON.parse(stdout.split('\n').at(-1)!) as string[];
    assert.deepEqual(served.sort(), [...new Set(routes.map(({ route }) => `POST ${route}`)), listing].sort());
  });
  for (const route of routes) {
    const title = `${route.route} of ${route.provider}${'stream' in route.body ? ', streamed' : ''}${'input' in route.body && route.quiet ? ', embeddings' : ''}`;
    if (route.quiet) {
      await checks.check(title, async () => {
        assert.equal(await seenBy(suite, route, ways)(suite.sides.open), undefined);
        return 'also fails without the inner door';
      });
    } else {
      await suite.attack(title, seenBy(suite, route, ways));
    }
  }

  checks.heading('The AI provider does not get these headers of a client');
  await suite.variants([
    'Forwarded', 'X-Forwarded-For', 'X-Forwarded-Host', 'X-Forwarded-Uri', 'X-Forwarded-Proto', 'X-Forwarded-Access-Token', 'X-Forwarded-Groups', 'X-Forwarded-Preferred-Username', 'X-Auth-Request-User', 'X-Auth-Request-Email',
    'X-Auth-Request-Access-Token', 'X-Real-Ip', 'X-Client-Ip', 'X-Original-Url', 'X-Amzn-Oidc-Data', 'X-Amzn-Trace-Id', 'Proxy-Authorization', 'Via', 'Referer', 'Gap-Auth', 'Gap-Signature', 'Cookie2', 'X-Portkey-Custom-Host', 'X-Api-Key',
  ], name => name, name => headerArrives(suite, name));
  await checks.check('(the traces of the AI gateway, which colleagues can read, do not contain data of a sign-in)', () => isInNoTrace(suite));
}

/** The data of the member that the provider gets when a route is called, in each of the ways. */
function seenBy(suite: DoorSuite, route: Route, ways: ReadonlyMap<string, Message>): DoorAttempt {
  return async side => {
    const endpoint = await suite.endpoint(side, { provider: route.provider, config: { api_base: `${suite.provider.url}/v1` } });
    const seen = new Map<string, string[]>();
    for (const [way, { headers }] of ways) {
      const message = json(bodyFor(route, endpoint));
      const arrivals = await suite.arrivals(() => side.send(pathFor(route, endpoint), { ...message, headers: { ...message.headers, ...headers } }));
      const calls = arrivals.filter(({ path }) => !path.includes('/.well-known/'));
      assert(calls.length > 0, `with ${way} nothing has reached the provider`);
      traces(arrivals, [suite.member.address.split('@')[0], ...credentials(suite)]).forEach(place => seen.set(place, [...seen.get(place) ?? [], way]));
    }
    return seen.size === 0 ? undefined : `the provider has received ${[...seen].map(([place, by]) => `${place} (${[...new Set(by)].join(', ')})`).join('; ')}`;
  };
}

function headerArrives(suite: DoorSuite, name: string): DoorAttempt {
  return async side => {
    const endpoint = await suite.endpoint(side, { provider: 'openai', config: { api_base: `${suite.provider.url}/v1` } });
    const message = suite.session(json({ model: endpoint, messages }));
    const value = name === 'Referer' ? `${suite.sides.real.url}/canary` : 'canary';
    const arrivals = await suite.arrivals(() => side.send('/gateway/openai/v1/chat/completions', { ...message, headers: { ...message.headers, [name]: value } }));
    assert(arrivals.length > 0, 'nothing has reached the provider');
    const seen = traces(arrivals, ['canary']);
    return seen.length === 0 ? undefined : `the provider has received ${seen.join()}`;
  };
}

async function isInNoTrace(suite: DoorSuite): Promise<void> {
  const { member, sides: { open } } = suite;
  const endpoint = await suite.endpoint(open, { provider: 'openai', config: { api_base: `${suite.provider.url}/v1` } });
  for (const headers of [suite.session().headers, bearer(member.token)]) {
    const message = json({ model: endpoint, input: 'hello' });
    await open.send('/gateway/openai/v1/embeddings', { ...message, headers: { ...message.headers, ...headers } });
  }
  const traced = await tracesOf(suite, open, endpoint);
  assert(traced.includes('"hello"') || traced.includes('\\"hello\\"'), traced.slice(0, 500));
  assert.deepEqual(credentials(suite).filter(value => traced.includes(value)), []);
}

/** The credentials of the member, whole or in parts. */
function credentials({ member: { token, cookie } }: DoorSuite): string[] {
  return [...token.split('.').slice(1), ...cookie.split('; ').map(part => part.split('=')[1].slice(0, 60))];
}

function pathFor({ route }: Route, endpoint: string): string {
  return route.replace('{endpoint_name}', endpoint).replace('{path:path}', 'v1/chat/completions');
}

function bodyFor({ route, body }: Route, endpoint: string): object {
  return route.includes('{endpoint_name}') ? body : { model: endpoint, ...body };
}

/** The parts of a request that contain one of the texts. */
function traces(arrivals: Arrival[], texts: string[]): string[] {
  const holds = (where: string) => texts.some(text => where.toLowerCase().includes(text.toLowerCase()));
  return arrivals.flatMap(({ path, headers, body }) => [
    ...headers.flatMap((name, index) => index % 2 === 0 && holds(`${name}: ${headers[index + 1]}`) ? [name.toLowerCase()] : []),
    ...holds(path) ? ['the address'] : [],
    ...holds(body) ? ['the body'] : [],
  ]);
}

async function tracesOf(suite: DoorSuite, side: Parameters<DoorAttempt>[0], endpoint: string): Promise<string> {
  const { endpoint: { experiment_id: experimentId } } = await suite.need<{ endpoint: { experiment_id: string } }>(side, `${gateway}/endpoints/get?name=${endpoint}`);
  const search = json({ locations: [{ type: 'MLFLOW_EXPERIMENT', mlflow_experiment: { experiment_id: experimentId } }], max_results: 10 });
  for (let tries = 0; tries < 50; tries += 1) { // traces are written with a delay
    const { traces: infos = [] } = await suite.need<{ traces?: { trace_id: string }[] }>(side, '/api/3.0/mlflow/traces/search', search);
    if (infos.length >= 2) {
      const parts = await Promise.all(infos.map(({ trace_id: id }) => suite.call(side, `/ajax-api/3.0/mlflow/get-trace-artifact?request_id=${id}`)));
      return JSON.stringify(infos) + parts.map(({ body }) => body).join();
    }
    await new Promise(resolve => setTimeout(resolve, 200));
  }
  throw new Error(`the calls of ${endpoint} left no traces`);
}

