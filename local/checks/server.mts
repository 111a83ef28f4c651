/** Checks of a deployed server that need only its URL and a bearer token. */

import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import type { OutgoingHttpHeaders } from 'node:http';
import { connect, type ConnectionOptions, type TLSSocket } from 'node:tls';
import { execa } from 'execa';
import { search, statusOfSearch } from './api.mjs';
import { calls, forgedTokens, headers as forgedHeaders, pages, paths } from './attacks/forgeries.mjs';
import { reaches } from './attacks/suite.mjs';
import type { Checks } from './checks.mjs';
import { rules } from './door/headers.mjs';
import { checkJob } from './programs.mjs';
import { bearer, json, withToken, type Send } from '../clients/http.mjs';
import { sessionCookieName } from '../clients/person.mjs';

export interface DeployedServer {
  readonly url: string;
  readonly send: Send;
  /** Its certification authority, if this machine does not trust it already. */
  readonly ca?: { readonly file: string; readonly certificates: string };
  readonly token?: string;
}

/** Half a year. */
const hstsSeconds = 180 * 24 * 3600;

/** Changes nothing on the server. Returns whether the server can be reached. */
export async function checkDeployed(checks: Checks, server: DeployedServer): Promise<boolean> {
  if (!await checkTransport(checks, server)) {
    return false;
  }
  await checkWithoutSignIn(checks, server);
  if (server.token !== undefined) {
    await checkWithToken(checks, server, server.token);
  }
  return true;
}

/** Leaves an experiment, a run and a registered model with this name. */
export async function checkWrites(checks: Checks, server: DeployedServer & { readonly token: string }, python: string, name: string): Promise<void> {
  const { url, ca, send, token } = server;
  const run = await checkJob(checks, { deployment: { url, caFile: ca?.file }, token, python, name });
  await checks.check('send OpenTelemetry traces', async () => {
    assert(run, 'there is no experiment for the traces');
    const id = randomBytes(16).toString('hex');
    const now = `${Date.now()}000000`;
    const span = { traceId: id, spanId: id.slice(0, 16), name, kind: 1, startTimeUnixNano: now, endTimeUnixNano: now };
    const trace = json({ resourceSpans: [{ scopeSpans: [{ spans: [span] }] }] });
    const { status, body } = await send('/v1/traces', withToken(token, { ...trace, headers: { ...trace.headers, 'x-mlflow-experiment-id': run.experimentId } }));
    assert.equal(status, 200, body);
  });
}

async function checkTransport(checks: Checks, { url, ca, send }: DeployedServer): Promise<boolean> {
  const { hostname, port } = new URL(url);
  const handshake = (options: ConnectionOptions) => new Promise<TLSSocket>((resolve, reject) => {
    const server = { host: hostname, port: Number(port) || 443, servername: hostname, ca: ca?.certificates, timeout: 15_000 };
    const socket = connect({ ...server, ...options }, () => resolve(socket))
      .on('error', reject).on('timeout', () => socket.destroy(new Error('no answer within 15 s')));
  });
  let reached = false;
  checks.heading('The connection');
  await checks.check('has a trusted certificate', async () => {
    const socket = await handshake({});
    reached = true;
    const validUntil = new Date(socket.getPeerCertificate().valid_to).toISOString().slice(0, 10);
    const protocol = socket.getProtocol();
    socket.destroy();
    return `${protocol}, until ${validUntil}`;
  });
  if (!reached) {
    return false;
  }
  await checks.check('refuses TLS 1.1', async () => {
    const old = handshake({ rejectUnauthorized: false, minVersion: 'TLSv1.1', maxVersion: 'TLSv1.1', ciphers: 'DEFAULT@SECLEVEL=0' });
    await assert.rejects(old, /alert protocol version|ECONNRESET|socket disconnected|handshake failure/i);
  });
  await checks.check('tells browsers to use only HTTPS (Strict-Transport-Security)', async () => {
    const age = (await send('/ping')).headers['strict-transport-security'];
    assert(Number(/^max-age=(\d+)/.exec(String(age))?.[1]) >= hstsSeconds, `strict-transport-security: ${age}`);
  });
  return true;
}

async function checkWithoutSignIn(checks: Checks, { url, send }: DeployedServer): Promise<void> {
  checks.heading('Without signing in');
  await checks.check('/ping answers 200', async () => assert.equal((await send('/ping')).status, 200));
  await checks.check('calls of programs are rejected with 401', () => callsGet401(send));
  await checks.check('a page leads to the sign-in provider, with PKCE, and back to this server only', () => leadsToProvider(url, send));
  await checks.check('the cookie of a sign-in is sent only to this host over TLS, and scripts cannot read it', async () => {
    const all = (await send('/oauth2/start?rd=/')).headers['set-cookie'] ?? [];
    const cookies = all.filter(cookie => cookie.startsWith(sessionCookieName)); // a load balancer may add its own
    assert(cookies.length > 0, `there is no ${sessionCookieName}…`);
    const isGuarded = (cookie: string) => ['Secure', 'HttpOnly', 'SameSite=Lax', 'Path=/'].every(part => cookie.split('; ').includes(part));
    assert.deepEqual(cookies.filter(cookie => !isGuarded(cookie) || /; domain=/i.test(cookie)), []);
  });
  for (const [what, headers] of Object.entries(forgedHeaders)) {
    await checks.check(`rejected in spite of forged headers: ${what}`, async () => assert.notEqual(await statusOfSearch(send, headers), 200));
  }
  await checks.check('a sign-in returns to this host only, whatever headers are sent', async () => {
    const misleading = { 'x-forwarded-host': 'evil.example', 'x-forwarded-proto': 'http', 'forwarded': 'host=evil.example' };
    const { headers } = await send('/oauth2/start?rd=https://evil.example/', { headers: misleading });
    assert(!String(headers.location).includes('evil.example'), headers.location);
  });
  await checks.check('tools get the settings for a sign-in and nothing else, or a refusal', () => saysHowToSignIn(send));
  await checks.check('other spellings of paths are rejected', async () => {
    const open = [];
    for (const path of paths) {
      open.push(...await reaches(send, path) ? [path] : []);
    }
    assert.deepEqual(open, []);
    return `${paths.length} paths`;
  });
}

async function checkWithToken(checks: Checks, { send }: DeployedServer, token: string): Promise<void> {
  const credentials = bearer(token);
  checks.heading('With the bearer token');
  await checks.check('the server returns who is signed in', async () => {
    const { status, body } = await send('/oauth2/userinfo', { headers: credentials });
    assert.equal(status, 200);
    const { email, user } = JSON.parse(body) as { email?: string; user?: string };
    return email ?? user;
  });
  await checks.check('MLflow answers', async () => {
    assert.equal(await statusOfSearch(send, credentials), 200);
    return `MLflow ${(await send('/version', { headers: credentials })).body}`;
  });
  await checks.check('the bearer token may be sent as a password', async () => {
    assert.equal(await statusOfSearch(send, { authorization: `Basic ${Buffer.from(`x:${token}`).toString('base64')}` }), 200);
  });
  await checks.check('headers protect an answer: no scripts, no frames, no guessed types', async () => {
    const { headers } = await send(search, { headers: credentials });
    assert.deepEqual(Object.values(rules).map(rule => rule(headers)).filter(Boolean), []);
  });
  await checks.check('a page of another site cannot call', async () => {
    const call = (headers: OutgoingHttpHeaders) => send('/ajax-api/2.0/mlflow/experiments/search', { ...json({ max_results: 1 }), headers: { ...credentials, 'content-type': 'application/json', ...headers } });
    const answers = await Promise.all([call({}), call({ origin: 'https://evil.example' })]);
    assert.deepEqual(answers.map(({ status }) => status), [200, 403]);
  });
  for (const [flaw, forged] of token.split('.').length === 3 ? await forgedTokens(token) : []) {
    await checks.check(`rejected: a bearer token ${flaw}`, async () => assert.notEqual(await statusOfSearch(send, bearer(forged)), 200));
  }
}

export async function callsGet401(send: Send): Promise<void> {
  const answers = await Promise.all(calls.map(path => send(path, json({}))));
  assert.deepEqual(answers.map(({ status, body }, index) => [calls[index], status, body]), calls.map(path => [path, 401, '{}']));
}

/** The path from which tools get the settings for a sign-in. */
export const toolsPath = '/.well-known/mlflow-secure-tracking';

/** Returns the provider, if the server has a client for tools. */
async function saysHowToSignIn(send: Send): Promise<string> {
  const { status, headers, body } = await send(toolsPath);
  if (status !== 200) {
    assert.equal(status, 403);
    return 'there is no client for tools';
  }
  assert.equal(headers['content-type'], 'application/json');
  const answer = JSON.parse(body) as Record<string, string>;
  assert.deepEqual(Object.keys(answer).sort(), ['client_id', 'issuer', 'scope']);
  return answer.issuer;
}

/** Returns the origin of the sign-in provider. */
export async function leadsToProvider(url: string, send: Send): Promise<string> {
  const answers = await Promise.all(pages.map(path => send(path)));
  assert.deepEqual(answers.map(({ status, body }) => [status, body.includes('<a href="/oauth2/start?rd=')]), answers.map(() => [403, true]));
  const page = await send('/some/page?x=1');
  assert.deepEqual([page.status, page.headers['cache-control']], [403, 'no-cache, no-store, must-revalidate, max-age=0']);
  assert.match(page.body, /<a href="\/oauth2\/start\?rd=%2fsome%2fpage%3fx%3d1">/);
  const { status, headers } = await send('/oauth2/start?rd=%2fsome%2fpage%3fx%3d1');
  assert.equal(status, 302);
  const { origin, searchParams } = new URL(headers.location!);
  assert.equal(searchParams.get('redirect_uri'), `${url}/oauth2/callback`);
  assert.equal(searchParams.get('code_challenge_method'), 'S256');
  assert(searchParams.get('state'), 'no state');
  return origin;
}

/** The AWS identity token of this process's role, requested by the package for clients. */
export async function roleToken(url: string, python: string, pluginFolder: string): Promise<string> {
  const program = 'import sys; from mlflow_secure_tracking._sources import aws_role_token; print(aws_role_token(sys.argv[1])[0])';
  const { stdout } = await execa(python, ['-c', program, url], { env: { PYTHONPATH: pluginFolder } });
  return stdout;
}
