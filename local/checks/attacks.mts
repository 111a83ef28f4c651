/**
 * What must not get anybody in. Each attack is first seen to work where its defence is missing: `without` are settings of
 * oauth2-proxy that take it away (undefined: removed), and a second proxy with them is attacked beside the real one. Attacks
 * on the library's own signature checks have no such setting; for them the same token without the flaw is seen to get in.
 */

import assert from 'node:assert/strict';
import { createHmac } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import type { OutgoingHttpHeaders } from 'node:http';
import { Agent, request } from 'node:https';
import { connect } from 'node:net';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { setTimeout as sleep } from 'node:timers/promises';
import type { JWTPayload } from 'jose';
import type { Checks } from './checks.mjs';
import { lifetime, SigningKey } from '../aws/issuer.mjs';
import { bearer, json, type Message, type Send } from '../clients/http.mjs';
import { Person } from '../clients/person.mjs';
import type { Beside, Deployment } from '../deployment.mjs';

type Settings = Record<string, string | undefined>;
type Attempt = (send: Send) => Promise<boolean>;

const withoutDefence = 'gets in without its defence';
const search = '/api/2.0/mlflow/experiments/search?max_results=1';
const assistant = '/ajax-api/3.0/mlflow/assistant/config';

export async function checkAttacks(checks: Checks, deployment: Deployment, send: Send): Promise<void> {
  // Behind the proxy stands the inner door, which would hide that a weaker proxy lets somebody in.
  const bare = await deployment.startServerWithoutDoor();
  const suite = new Attacks(checks, deployment, send, bare.url);
  await suite.tokens();
  await suite.addresses();
  await suite.rules();
  await suite.forgedHeaders();
  await suite.paths();
  await suite.sessions();
  await suite.smuggling();
  await suite.burst();
  await bare.stop();
}

class Attacks {
  private readonly good: JWTPayload;

  constructor(
    private readonly checks: Checks, private readonly deployment: Deployment, private readonly send: Send, private readonly bareServer: string,
  ) {
    this.good = { iss: deployment.issuer.issuer, aud: deployment.clients.proxy.id, sub: '1', email: 'someone@example.com', email_verified: true };
  }

  async tokens(): Promise<void> {
    const { issuer, clients: { proxy } } = this.deployment;
    const { key } = issuer;
    const stranger = new SigningKey(key.kid);
    this.checks.heading('Tokens that get nobody in');
    await this.checks.check('(a token without a flaw gets in)', async () => {
      assert(await this.opens(bearer(await key.sign({ ...this.good, ...lifetime(60) })))(this.send));
    });

    await this.attack('no token', this.opens({}), { OAUTH2_PROXY_SKIP_AUTH_ROUTES: '.*' });
    await this.attack('expired', this.token({ ...lifetime(60), exp: seconds() - 1 }));
    await this.attack('not valid before ten minutes from now', this.token({ nbf: seconds() + 600 }));
    await this.attack('made for another audience', this.token({ aud: 'another-client' }), { OAUTH2_PROXY_OIDC_EXTRA_AUDIENCES: 'another-client' });
    await this.attack('of another issuer', this.token({ iss: 'https://issuer.evil.example' }));
    await this.attack('of another issuer, with a key of its own', async send => {
      const token = await stranger.sign({ ...this.good, ...lifetime(60), iss: 'https://issuer.evil.example' }, { jku: 'https://issuer.evil.example/jwks' });
      return this.opens(bearer(token))(send);
    });
    await this.attack('signed with another key under the same kid', async send => this.opens(bearer(await stranger.sign({ ...this.good, ...lifetime(60) })))(send));
    await this.attack('whose header brings its own key', async send => {
      const token = await stranger.sign({ ...this.good, ...lifetime(60) }, { kid: 'mine', jwk: stranger.publicJwk as never });
      return this.opens(bearer(token))(send);
    });
    await this.attack('whose kid is a path', async send => this.opens(bearer(await stranger.sign({ ...this.good, ...lifetime(60) }, { kid: '../../../dev/null' })))(send));
    await this.attack('with alg none', async send => this.opens(bearer(unsigned({ alg: 'none', typ: 'JWT' }, { ...this.good, ...lifetime(60) }, '')))(send));
    await this.attack('with alg none and an old signature', async send => {
      const [, , signature] = (await key.sign({ ...this.good, ...lifetime(60) })).split('.');
      return this.opens(bearer(unsigned({ alg: 'none', typ: 'JWT' }, { ...this.good, ...lifetime(60) }, signature)))(send);
    });
    await this.attack('with HS256, signed with the public key', async send => {
      const head = unsigned({ alg: 'HS256', kid: key.kid, typ: 'JWT' }, { ...this.good, ...lifetime(60) }, '').slice(0, -1);
      const pem = key.publicKey.export({ type: 'spki', format: 'pem' });
      return this.opens(bearer(`${head}.${createHmac('sha256', pem).update(head).digest('base64url')}`))(send);
    });
    await this.attack('changed after signing', async send => {
      const [head, , signature] = (await key.sign({ ...this.good, ...lifetime(60), email: 'someone@evil.example' })).split('.');
      return this.opens(bearer(`${head}.${Buffer.from(JSON.stringify({ ...this.good, ...lifetime(60) })).toString('base64url')}.${signature}`))(send);
    });
    await this.attack('as the password, expired', async send => {
      const token = await key.sign({ ...this.good, ...lifetime(60), exp: seconds() - 1 });
      return this.opens({ authorization: `Basic ${Buffer.from(`x:${token}`).toString('base64')}` })(send);
    });
    await this.attack('the client id and secret as user and password', this.opens({ authorization: `Basic ${Buffer.from(`${proxy.id}:${proxy.secret}`).toString('base64')}` }));
  }

  async addresses(): Promise<void> {
    const everyone = { OAUTH2_PROXY_EMAIL_DOMAINS: '*' };
    this.checks.heading('Addresses that get nobody in');
    await this.attack('not verified', this.token({ email_verified: false }), { OAUTH2_PROXY_INSECURE_OIDC_ALLOW_UNVERIFIED_EMAIL: 'true' });
    for (const email of [
      'someone@evil.example', 'someone@example.com.evil.example', 'someone@evilexample.com', 'someone@EVILEXAMPLE.COM', 'someone@sub.example.com', 'someone@example.com.', 'someone@evil.example@example.com',
      'someone@example.com@evil.example', 'example.com', 'someone@example.com,evil.example', ' ',
    ]) {
      await this.attack(JSON.stringify(email), this.token({ email }), everyone);
    }
    // Nothing in the proxy stops a subject that ends like an address, of an issuer that is trusted. Without the inner door it gets in.
    await this.attack('the subject of a CI job, whose branch is called like an address', this.token({ email: undefined, sub: 'repo:evil/x:ref:refs/heads/x@example.com' }), {});
    await this.attack('a role that is called like an address', this.roleToken(role => role.replace(/[^/]+$/, 'x@example.com')), {});
    await this.attack('the same, where bearer tokens are off, as with GitLab', async () => {
      const strict = await this.startProxy({ OAUTH2_PROXY_SKIP_JWT_BEARER_TOKENS: 'false', OAUTH2_PROXY_EXTRA_JWT_ISSUERS: undefined });
      try {
        return await this.token({ email: undefined, sub: 'project_path:evil/x:ref_type:branch:ref:x@example.com' })(strict.send);
      } finally {
        await strict.stop();
      }
    });
    await this.attack('a subject, where there is no address', this.token({ email: undefined, sub: 'arn:aws:iam::123456789012:role/nobody' }), everyone);
    await this.attack('a subject that is not on the list, of the issuer of AWS roles', this.roleToken(role => `${role}x`), everyone);
    await this.attack('a role of the list in another account', this.roleToken(role => role.replace(/::\d+:/, '::999999999999:')), everyone);
    await this.attack('a role of the list, for another audience', this.roleToken(role => role, 'https://other.example.com'));
    await this.attack('a role of the list, signed by the provider', async send => {
      const { issuer, account } = this.deployment;
      const claims = { iss: account!.issuer, sub: this.listedRole, aud: this.deployment.url, ...lifetime(60) };
      return this.opens(bearer(await issuer.key.sign(claims)))(send);
    });
  }

  /** What narrows or widens the rule of domains, with tokens of the provider. */
  async rules(): Promise<void> {
    const inWith = async (settings: Settings, claims: JWTPayload) => {
      const proxy = await this.startProxy(settings);
      try {
        return await this.token(claims)(proxy.send);
      } finally {
        await proxy.stop();
      }
    };
    this.checks.heading('Rules beside the domains');
    await this.checks.check('allowed groups: one of them is enough, another or none is not', async () => {
      const groups = { OAUTH2_PROXY_ALLOWED_GROUPS: 'ml-team,admins' };
      assert(await inWith(groups, { 'cognito:groups': ['other', 'admins'] }));
      assert(!await inWith(groups, { 'cognito:groups': ['other'] }));
      assert(!await inWith(groups, {}));
      assert(!await inWith(groups, { 'cognito:groups': ['admins'], 'email': 'someone@evil.example' }), 'groups do not replace the domains');
    });
    await this.checks.check('allowed groups hold for trusted issuers, by the claim that the provider uses', async () => {
      const strict = await this.startProxy({ OAUTH2_PROXY_ALLOWED_GROUPS: 'admins' });
      const enters = (claims: JWTPayload) => this.roleToken(role => role, this.deployment.url, claims)(strict.send);
      assert(await enters({ 'cognito:groups': ['admins'] }));
      assert(!await enters({ groups: ['admins'] }));
      assert(!await enters({}));
      await strict.stop();
    });
    await this.checks.check('allowed groups that come to nothing keep everybody out, with the name that nobody has; (without it they let everybody in)', async () => {
      assert(!await inWith({ OAUTH2_PROXY_ALLOWED_GROUPS: ',nobody:nobody' }, { 'cognito:groups': ['other'] }));
      assert(await inWith({ OAUTH2_PROXY_ALLOWED_GROUPS: '' }, { 'cognito:groups': ['other'] }));
      assert(await inWith({ OAUTH2_PROXY_ALLOWED_GROUPS: 'admins,nobody:nobody' }, { 'cognito:groups': ['admins'] }));
    });
    await this.checks.check('the claim that holds the address', async () => {
      const claim = { OAUTH2_PROXY_OIDC_EMAIL_CLAIM: 'upn' };
      assert(await inWith(claim, { email: undefined, upn: 'someone@example.com' }));
      assert(!await inWith(claim, { email: 'someone@example.com', upn: 'someone@evil.example' }));
    });
    // oauth2-proxy looks at `email_verified` for the claim `email` alone, so synthesis warns: docs/sign-in-oidc.md.
    await this.checks.check('(an address in another claim gets in, verified or not)', async () => {
      assert(await inWith({ OAUTH2_PROXY_OIDC_EMAIL_CLAIM: 'upn' }, { email: 'someone@evil.example', upn: 'someone@example.com', email_verified: false }));
      assert(!await inWith({}, { email_verified: false }));
    });
    await this.checks.check('an address on the list of machines, in any domain', async () => {
      const list = join(this.deployment.logs, 'machines.csv');
      writeFileSync(list, '"ci@project.iam.gserviceaccount.example"\n');
      const listed = { OAUTH2_PROXY_AUTHENTICATED_EMAILS_FILE: list };
      assert(await inWith(listed, { email: 'ci@project.iam.gserviceaccount.example' }));
      assert(!await inWith(listed, { email: 'other@project.iam.gserviceaccount.example' }));
    });
  }

  async forgedHeaders(): Promise<void> {
    const cookie = await this.sessionCookie();
    this.checks.heading('Forged headers that change nothing');
    const forged: OutgoingHttpHeaders = {
      'x-forwarded-user': 'someone@example.com',
      'x-forwarded-email': 'someone@example.com',
      'x-forwarded-preferred-username': 'someone',
      'x-forwarded-groups': 'admins',
      'x-auth-request-user': 'someone@example.com',
      'x-auth-request-email': 'someone@example.com',
      'x-forwarded-access-token': 'x',
    };
    await this.attack('who is signed in', this.opens(forged), { OAUTH2_PROXY_SKIP_AUTH_ROUTES: '.*' });
    await this.attack('another path, of one that needs no sign-in', this.opens({
      'x-forwarded-uri': '/ping', 'x-original-url': '/ping', 'x-original-uri': '/ping', 'x-rewrite-url': '/ping', 'x-forwarded-path': '/ping',
    }), { OAUTH2_PROXY_REVERSE_PROXY: 'true', OAUTH2_PROXY_SKIP_AUTH_ROUTES: '^/ping$' });
    await this.attack('a trusted client address', this.opens({ 'x-real-ip': '127.0.0.1', 'x-forwarded-for': '127.0.0.1', 'x-client-ip': '127.0.0.1', 'forwarded': 'for=127.0.0.1;host=127.0.0.1:5000' }), {
      OAUTH2_PROXY_REVERSE_PROXY: 'true', OAUTH2_PROXY_TRUSTED_IPS: '127.0.0.1', OAUTH2_PROXY_REAL_CLIENT_IP_HEADER: 'X-Real-IP',
    });
    await this.attack('the user agent of a health check', this.opens({ 'user-agent': 'GoogleHC/1.0' }));
    await this.attack('where the sign-in returns to', async send => {
      const { headers } = await send('/oauth2/start', { headers: { 'x-forwarded-host': 'evil.example', 'x-forwarded-proto': 'http', 'host': 'evil.example', 'forwarded': 'host=evil.example' } });
      return headers.location!.includes('evil.example');
    }, { OAUTH2_PROXY_REDIRECT_URL: '/oauth2/callback', OAUTH2_PROXY_REVERSE_PROXY: 'true' });
    await this.attack('the client address, to reach the assistant with a session', async send => {
      const { status } = await send(assistant, { headers: { cookie, 'x-forwarded-for': '127.0.0.1', 'x-real-ip': '127.0.0.1', 'forwarded': 'for=127.0.0.1' } });
      return status === 200;
    }, { OAUTH2_PROXY_UPSTREAMS: this.proxyEnvironment.OAUTH2_PROXY_UPSTREAMS!.split(',')[0] });
  }

  async paths(): Promise<void> {
    const cookie = await this.sessionCookie();
    this.checks.heading('Paths that lead nowhere');
    await this.spellings([
      assistant, '/ajax-api/3.0/mlflow/%61ssistant/config', '/ajax-api/3.0/mlflow/assistant%2fconfig', '/ajax-api/3.0/mlflow%2fassistant%2fconfig', '/ajax-api/3.0/mlflow//assistant/config',
      '/ajax-api/3.0/mlflow/./assistant/config', '/ajax-api/3.0/x/../mlflow/assistant/config', '/ajax-api/3.0/mlflow/x/%2e%2e/assistant/config', '/ajax-api/3.0/mlflow/assistant;x/config',
      '/ajax-api/3.0/mlflow/ASSISTANT/config', '//ajax-api/3.0/mlflow/assistant/config', '/ajax-api/3.0/mlflow/assistant/config/', '/ajax-api/3.0/mlflow/assistant/config?x=/', '/ajax-api/3.0/mlflow/assistant%00/config',
    ], path => `the assistant as ${path}, with a session`, path => send => this.reaches(send, path, { headers: { cookie } }), {
      OAUTH2_PROXY_UPSTREAMS: this.proxyEnvironment.OAUTH2_PROXY_UPSTREAMS.split(',')[0],
    });
    await this.spellings([
      `/${search}`, `/.${search}`, search.replace('/api', '/%61pi'), `/api/..${search}`, `/ping/..${search}`, `/ping/%2e%2e${search}`, `/oauth2/..${search}`, `/oauth2/static/..${search}`, search.replace('/api', '/API'),
      search.replace('/2.0', ';x/2.0'), search.replace('/2.0/', '/2.0%2f'), '/get-artifact?path=x&run_uuid=x', '/model-versions/get-artifact?path=x&name=x&version=1', '/static-files/../api/2.0/mlflow/experiments/search',
      '/health', '/version', '/metrics', '/graphql', '/v1/traces', '/gateway/discovery/endpoints', '/docs', '/openapi.json',
    ], path => `${path}, without signing in`, path => send => this.reaches(send, path), { OAUTH2_PROXY_SKIP_AUTH_ROUTES: '.*' });
  }

  async sessions(): Promise<void> {
    const { url, issuer } = this.deployment;
    const cookie = await this.sessionCookie();
    const [name, value] = cookie.split(/=(.*)/s);
    this.checks.heading('Sessions that get nobody in');
    await this.checks.check('(a cookie without a flaw gets in)', async () => assert(await this.opens({ cookie })(this.send)));
    await this.attack('a cookie that was changed', this.opens({ cookie: `${name}=${value.slice(0, 40)}${value[40] === 'A' ? 'B' : 'A'}${value.slice(41)}` }));
    await this.attack('a cookie without its signature', this.opens({ cookie: `${name}=${value.split('|')[0]}` }));
    await this.attack('a cookie under another name', this.opens({ cookie: `_oauth2_proxy=${value}` }));
    await this.checks.check('a cookie of another deployment, nor one that is too old', async () => {
      const other = await this.startProxy({ OAUTH2_PROXY_COOKIE_SECRET: 'x'.repeat(32) });
      const strict = await this.startProxy({ OAUTH2_PROXY_COOKIE_EXPIRE: '1s' });
      const same = await this.startProxy({});
      await sleep(1000);
      try {
        assert(await this.opens({ cookie })(same.send), 'a proxy with the same secret must take it');
        assert(!await this.opens({ cookie })(other.send), 'a proxy with another secret has taken it');
        assert(!await this.opens({ cookie })(strict.send), 'a cookie older than the session was taken');
      } finally {
        await Promise.all([other, strict, same].map(proxy => proxy.stop()));
      }
    });
    const afterRefresh = 2100; // oauth2-proxy leaves out the fractions of a second of now, and not of when the session began
    await this.checks.check('a person whom the provider blocks, at the next refresh; with a refresh token she stays as long as it lets her', async () => {
      const person = 'leaver@example.com';
      const refreshing = await this.startProxy({ OAUTH2_PROXY_COOKIE_REFRESH: '1s' });
      try {
        const kept = await this.sessionCookie({ email: person });
        await sleep(afterRefresh);
        assert(await this.opens({ cookie: kept })(refreshing.send), 'the refresh must succeed');
        const blocked = await this.sessionCookie({ email: person });
        issuer.blocked.add(person);
        assert(await this.opens({ cookie: blocked })(refreshing.send), 'before the refresh she is in');
        await sleep(afterRefresh);
        assert(!await this.opens({ cookie: blocked })(refreshing.send), 'she is still in');
      } finally {
        await refreshing.stop();
      }
    });
    await this.checks.check('a person without a refresh token, at the first refresh after the ID token has expired, not before', async () => {
      const refreshing = await this.startProxy({ OAUTH2_PROXY_COOKIE_REFRESH: '1s' });
      Object.assign(issuer, { givesRefreshTokens: false, idTokenSeconds: 4 });
      try {
        const short = await this.sessionCookie();
        await sleep(afterRefresh);
        assert(await this.opens({ cookie: short })(refreshing.send), 'the ID token is still valid');
        await sleep(3500);
        assert(!await this.opens({ cookie: short })(refreshing.send), 'she is still in');
      } finally {
        Object.assign(issuer, { givesRefreshTokens: true, idTokenSeconds: 8 * 3600 });
        await refreshing.stop();
      }
    });
    // By default the session is in the cookie and nothing on the server, so signing out cannot end a copy. With a store it does: sessions.mts.
    await this.checks.check('(a copy of a cookie outlives signing out, as long as the session would have lasted)', async () => {
      const copy = await this.sessionCookie({ andThen: person => person.open(`${url}/oauth2/sign_out`, issuer.issuer) });
      assert(await this.opens({ cookie: copy })(this.send));
    });
    await this.attack('a write with a session from a page of another site', async send => {
      const body = json({ name: `forged ${Math.random()}` });
      const { status } = await send('/ajax-api/2.0/mlflow/experiments/create', { ...body, headers: { ...body.headers, cookie, origin: 'https://evil.example' } });
      return status === 200;
    });
    await this.attack('a write without a session from a page of another site', async send => {
      const body = json({ name: `forged ${Math.random()}` });
      const { status } = await send('/ajax-api/2.0/mlflow/experiments/create', { ...body, headers: { ...body.headers, origin: 'https://evil.example' } });
      return status === 200;
    });
    const own = new URL(url).host;
    const elsewhere = ['https://evil.example/', '//evil.example/', '/\\evil.example/', '\\\\evil.example', 'https:evil.example', 'https:///evil.example', `https://${own}@evil.example/`, `https://${own}.evil.example/`, '/%09/evil.example', '/./\\evil.example', 'javascript:alert(1)', '/%5cevil.example'];
    await this.spellings(elsewhere, target => `signing out leads to ${target}`, target => async send => {
      const { headers } = await send(`/oauth2/sign_out?rd=${encodeURIComponent(target)}`);
      return new URL(headers.location!, url).origin !== url;
    }, { OAUTH2_PROXY_WHITELIST_DOMAINS: 'evil.example' });
    // The link of the sign-in page, whatever the part after "#" that its script adds.
    await this.spellings([...elsewhere, '/#//evil.example', '/#@evil.example'], target => `signing in leads to ${target}`, target => async send => {
      const { headers } = await send(`/oauth2/start?rd=${encodeURIComponent(target)}`);
      const state = new URL(headers.location!).searchParams.get('state')!;
      return new URL(state.slice(state.indexOf(':') + 1), url).origin !== url;
    }, { OAUTH2_PROXY_WHITELIST_DOMAINS: 'evil.example' });
  }

  /**
   * Ambiguous requests, sent raw to the proxy: the load balancer of AWS is not here, so the proxy has to refuse by itself. They hold a
   * good token, so that whatever is taken for a request of its own gets an answer that shows.
   */
  async smuggling(): Promise<void> {
    const { port } = new URL(this.deployment.proxyUrl);
    const signed = `Authorization: Bearer ${await this.deployment.issuer.key.sign({ ...this.good, ...lifetime(60) })}`;
    const inner = `GET ${search} HTTP/1.1\r\nHost: x\r\n${signed}\r\n\r\n`;
    const chunked = `${inner.length.toString(16)}\r\n${inner}\r\n0\r\n\r\n`;
    const gotIn = '"experiments"';
    this.checks.heading('Requests that smuggle nothing in');
    await this.checks.check('(a request without a flaw gets in)', async () => {
      const answer = await raw(Number(port), inner);
      assert(answer.includes(gotIn), answer.slice(0, 500));
    });
    // As HTTP has it, the chunks count and what follows is a request. So two in one are kept apart by the load balancer alone: in the mode
    // `defensive` it forwards such a request on a connection that it then closes. docs/security.md says so.
    await this.checks.check('(CL.TE: the proxy takes the rest for a request of its own, which needs a token of its own)', async () => {
      const both = (rest: string) => `POST /ping HTTP/1.1\r\nHost: x\r\nContent-Length: ${rest.length + 5}\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n${rest}`;
      assert((await raw(Number(port), both(inner))).includes(gotIn));
      assert(!(await raw(Number(port), both(inner.replace(`${signed}\r\n`, '')))).includes(gotIn));
    });
    for (const [title, message] of [
      ['TE.CL', `POST /ping HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n${chunked}`],
      ['TE.TE with a spelling', `POST /ping HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nTransfer-Encoding: xchunked\r\n\r\n${chunked}`],
      ['two lengths', `POST /ping HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nContent-Length: ${inner.length}\r\n\r\n${inner}`],
      ['two hosts', `GET ${search} HTTP/1.1\r\nHost: x\r\nHost: 127.0.0.1:5000\r\n${signed}\r\n\r\n`],
      ['a header of 2 MB', `GET ${search} HTTP/1.1\r\nHost: x\r\n${signed}\r\nX-Long: ${'x'.repeat(2_000_000)}\r\n\r\n`],
      ['a header with a blank in its name', `GET ${search} HTTP/1.1\r\nHost: x\r\n${signed}\r\nX-Forwarded-Email : someone@example.com\r\n\r\n`],
      ['a whole address as path, without a token', `GET http://127.0.0.1:5000${search} HTTP/1.1\r\nHost: x\r\n\r\n`],
    ]) {
      await this.checks.check(title, async () => {
        const answer = await raw(Number(port), message);
        assert(!answer.includes(gotIn), answer.slice(0, 500));
        return answer.split('\r\n')[0] || 'closed';
      });
    }
  }

  async burst(): Promise<void> {
    const requests = 10_000;
    this.checks.heading('A burst');
    await this.checks.check(`of ${requests} bad tokens: each refused, and a good client notices nothing`, async () => {
      const bad = bearer(await new SigningKey(this.deployment.issuer.key.kid).sign({ ...this.good, ...lifetime(3600) }));
      const good = bearer(await this.deployment.issuer.key.sign({ ...this.good, ...lifetime(3600) }));
      const statuses = new Map<number, number>();
      const goodStatuses = new Map<number, number>();
      const agent = new Agent({ keepAlive: true, maxSockets: 32, rejectUnauthorized: false });
      let left = requests;
      const attacker = async () => {
        while (left-- > 0) {
          count(statuses, await this.status(agent, bad));
        }
      };
      let over = false;
      const worker = async () => {
        while (!over) {
          count(goodStatuses, await this.status(agent, good));
        }
      };
      const working = worker();
      await Promise.all(Array.from({ length: 31 }, attacker));
      over = true;
      await working;
      agent.destroy();
      assert.deepEqual([...statuses], [[403, requests]]);
      assert.deepEqual([...goodStatuses.keys()], [200]);
      return `${goodStatuses.get(200)} good requests meanwhile`;
    });
  }

  /** Fails if the attempt succeeds on the real deployment, or if it does not where its defence is missing. */
  private async attack(title: string, attempt: Attempt, without?: Settings): Promise<void> {
    await this.checks.check(title, async () => {
      assert(!await attempt(this.send), 'it got in');
      if (without === undefined) {
        return undefined;
      }
      const weak = await this.startProxy(without);
      try {
        assert(await attempt(weak.send), `it does not get in without its defence either, so this check proves nothing: ${JSON.stringify(without)}`);
      } finally {
        await weak.stop();
      }
      return withoutDefence;
    });
  }

  /** Spellings of one attack, of which several must get in where the defence is missing. The rest lead nowhere by themselves. */
  private async spellings(
    all: string[], title: (spelling: string) => string, attempt: (spelling: string) => Attempt, without: Settings,
  ): Promise<void> {
    const weak = await this.startProxy(without);
    let getIn = 0;
    for (const spelling of all) {
      await this.checks.check(title(spelling), async () => {
        assert(!await attempt(spelling)(this.send), 'it got in');
        const weakly = await attempt(spelling)(weak.send);
        getIn += weakly ? 1 : 0;
        return weakly ? withoutDefence : 'nor without its defence';
      });
    }
    await weak.stop();
    await this.checks.check('(several of them get in without their defence)', async () => assert(getIn >= 2, String(getIn)));
  }

  /** In front of an MLflow without the inner door. The assistant is closed by the proxy alone then. */
  private async startProxy(changes: Settings): Promise<Beside> {
    const upstreams = (changes.OAUTH2_PROXY_UPSTREAMS ?? this.proxyEnvironment.OAUTH2_PROXY_UPSTREAMS).split(',');
    return this.deployment.startProxy({ ...changes, OAUTH2_PROXY_UPSTREAMS: [`${this.bareServer}/`, ...upstreams.slice(1)].join(',') });
  }

  private opens(headers: OutgoingHttpHeaders): Attempt {
    return send => this.reaches(send, search, { headers });
  }

  /** Whether the answer is MLflow's own and not a refusal, a redirect or the proxy's page. */
  private async reaches(send: Send, path: string, message: Message = {}): Promise<boolean> {
    const { status, headers } = await send(path, message);
    return status >= 200 && status < 300 && !String(headers.location ?? '').includes('/oauth2/');
  }

  private token(claims: JWTPayload): Attempt {
    return async send => this.opens(bearer(await this.deployment.issuer.key.sign({ ...this.good, ...lifetime(60), ...claims })))(send);
  }

  private roleToken(change: (role: string) => string, audience = this.deployment.url, more: JWTPayload = {}): Attempt {
    const account = this.deployment.account!;
    const claims = { iss: account.issuer, sub: change(this.listedRole), aud: audience, ...more };
    return async send => this.opens(bearer(await account.key.sign({ ...claims, ...lifetime(60) })))(send);
  }

  private get listedRole(): string {
    return this.deployment.machineIdentities.find(identity => identity.includes(':role/'))!;
  }

  private get proxyEnvironment(): Record<string, string> {
    return this.deployment.proxy.env;
  }

  /** The cookie of somebody who has signed in, and then does more. */
  private async sessionCookie(
    { email = 'someone@example.com', andThen }: { readonly email?: string; readonly andThen?: (person: Person) => Promise<unknown> } = {},
  ): Promise<string> {
    const person = await Person.meet(email);
    await person.open(`${this.deployment.url}/`);
    const cookies = (await person.http.storageState()).cookies.filter(({ name }) => name.startsWith('__Host-oauth2_proxy'));
    await andThen?.(person);
    await person.leave();
    return cookies.map(({ name, value }) => `${name}=${value}`).join('; ');
  }

  private async status(agent: Agent, headers: OutgoingHttpHeaders): Promise<number> {
    return new Promise((resolve, reject) => {
      const { hostname, port } = new URL(this.deployment.url);
      request({ hostname, port, path: search, headers, agent }, response => {
        text(response).then(() => resolve(response.statusCode!), reject);
      }).on('error', reject).end();
    });
  }
}

function count(counts: Map<number, number>, status: number): void {
  counts.set(status, (counts.get(status) ?? 0) + 1);
}

function seconds(): number {
  return Math.floor(Date.now() / 1000);
}

function unsigned(header: object, claims: JWTPayload, signature: string): string {
  return [header, claims].map(part => Buffer.from(JSON.stringify(part)).toString('base64url')).join('.') + `.${signature}`;
}

/** Everything that comes back, until the server closes or says nothing for a second. */
async function raw(port: number, message: string): Promise<string> {
  return new Promise(resolve => {
    let answer = '';
    const socket = connect(port, '127.0.0.1', () => socket.write(message));
    socket.setTimeout(1000, () => socket.destroy());
    socket.on('data', data => answer += data.toString());
    socket.on('error', () => undefined);
    socket.on('close', () => resolve(answer));
  });
}
