/** Security headers of answers, for browsers and caches. */

import assert from 'node:assert/strict';
import type { IncomingHttpHeaders } from 'node:http';
import type { DoorSuite } from './suite.mjs';
import { bearer, json, withToken, type Message } from '../../clients/http.mjs';
import { assistant, search } from '../api.mjs';

type Rule = (headers: IncomingHttpHeaders) => string | undefined;

const directives = (headers: IncomingHttpHeaders) => new Map(String(headers['content-security-policy'] ?? '').split(';').map(part => part.trim().split(/\s+(.*)/s)).map(([name, value = '']) => [name, value]));

/** Returns the violation. */
export const rules: Record<string, Rule> = {
  'no script of stored data runs': headers => {
    const policy = directives(headers);
    const scripts = policy.get('sandbox') === '' ? '' : policy.get('script-src') ?? policy.get('default-src');
    return scripts === undefined || /'unsafe-inline'|'unsafe-eval'|\*|data:|blob:|https?:(\s|$)/.test(scripts) ? `content-security-policy: ${headers['content-security-policy']}` : undefined;
  },
  'no other site frames it': headers => /^('self'|'none')$/.test(directives(headers).get('frame-ancestors') ?? '') ? undefined : `content-security-policy: ${headers['content-security-policy']}`,
  'its URL is not sent to other sites': headers => ['same-origin', 'no-referrer', 'strict-origin-when-cross-origin'].includes(String(headers['referrer-policy'])) ? undefined : `referrer-policy: ${headers['referrer-policy']}`,
  'no type is guessed': headers => headers['x-content-type-options'] === 'nosniff' ? undefined : `x-content-type-options: ${headers['x-content-type-options']}`,
};
const notKept: Rule = headers => /\bno-store\b/.test(String(headers['cache-control'])) ? undefined : `cache-control: ${headers['cache-control']}`;
const notShared: Rule = headers => /\b(no-store|private)\b/.test(String(headers['cache-control'])) && !/\bpublic\b/.test(String(headers['cache-control'])) ? undefined : `cache-control: ${headers['cache-control']}, gap-auth: ${headers['gap-auth']}`;

export async function answersAreGuarded(suite: DoorSuite): Promise<void> {
  const { checks, member, sides } = suite;
  const { body: page } = await suite.call(sides.real, '/');
  const [, script] = /src="\.?\/?(static-files\/[^"]+\.js)"/.exec(page)!;
  const places: [title: string, path: string, message?: Message][] = [
    ['an answer of the API', search],
    ['an answer to the page', '/ajax-api/2.0/mlflow/experiments/search?max_results=1'],
    ['an error of the API', '/api/2.0/mlflow/experiments/get?experiment_id=4711'],
    ['a path that does not exist', '/api/2.0/mlflow/nothing'],
    ['GraphQL', '/graphql', json({ query: '{ __typename }' })],
    ['traces', '/v1/traces', json({ resourceSpans: [] })],
    ['the AI gateway', '/gateway/mlflow/v1/models'],
    ['a file of a run that does not exist', '/get-artifact?run_uuid=x&path=x'],
    ['the version', '/version'],
    ['the health', '/health'],
    ['the page', '/'],
    ['a script of the page', `/${script}`],
    ['a refusal', '/ajax-api/2.0/mlflow/experiments/create', { ...json({ name: 'x' }), headers: { 'origin': 'https://evil.example', 'content-type': 'application/json' } }],
  ];
  const isStatic = (path: string) => path.startsWith('/static-files/') || path === '/'; // MLflow's files, the same for all people

  checks.heading('Headers protect each answer: no scripts, no frames, no shared caches');
  await suite.variants(places, ([title]) => title, ([, path, message]) => async side => {
    const { headers } = await side.send(path, withToken(member.token, message));
    const wrong = Object.entries({ ...rules, ...isStatic(path) ? { 'no cache shares it': notShared } : { 'it is not stored': notKept } })
      .flatMap(([rule, check]) => { const found = check(headers); return found === undefined ? [] : [`${rule}: ${found}`]; });
    return wrong.length === 0 ? undefined : wrong.join('; ');
  }, sides.real);
  await checks.check('an artifact is a download that browsers do not open as a page', async () => {
    const path = '/api/2.0/mlflow-artifacts/artifacts/guarded/page.html';
    assert.equal((await suite.call(sides.real, path, { method: 'PUT', body: '<script>alert(1)</script>' })).status, 200);
    const { headers } = await sides.real.send(path, { headers: bearer(member.token) });
    assert.match(String(headers['content-disposition']), /^attachment/);
    assert.deepEqual([notKept, ...Object.values(rules)].map(rule => rule(headers)).filter(Boolean), []);
  });
  await checks.check('answers tell browsers to use only HTTPS (Strict-Transport-Security), also those of the proxy', async () => {
    for (const [path, headers] of [['/', bearer(member.token)], ['/ping', {}], ['/api/2.0/mlflow/experiments/search', {}], ['/oauth2/sign_in', {}], [assistant, bearer(member.token)]] as const) {
      const answer = await sides.real.send(path, { headers });
      const [, age] = /^max-age=(\d+)/.exec(String(answer.headers['strict-transport-security'])) ?? [];
      assert(Number(age) >= 180 * 24 * 3600, `${path}: strict-transport-security: ${answer.headers['strict-transport-security']}`);
    }
  });
}
