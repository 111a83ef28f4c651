/** Sessions on the server: signing out ends them, their cookie is small, and requests while their store cannot be reached. */

import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { statusOfSearch } from './api.mjs';
import type { Checks } from './checks.mjs';
import { checkPeople } from './people.mjs';
import { bearer, client, type Send } from '../clients/http.mjs';
import { isSessionCookie, Person, sessionCookieName } from '../clients/person.mjs';
import type { Deployment, TaskPlan } from '../deployment.mjs';

const cookieStore = { OAUTH2_PROXY_SESSION_STORE_TYPE: 'cookie', OAUTH2_PROXY_SESSION_COOKIE_MINIMAL: 'true' }; // the default
const hours = 3600;

export async function checkSessions(checks: Checks, deployment: Deployment, send: Send, token: string): Promise<void> {
  await checkPeople(checks, deployment, send);

  checks.heading('Sessions on the server');
  await checkWhatIsStored(checks, deployment, send);
  await checkSignOut(checks, deployment, send);
  await checkRefresh(checks, deployment, send);
  await checkRequestsToStore(checks, deployment, send, token);
  await checkAccessToStore(checks, deployment);

  checks.heading('More tasks');
  await checks.check('sessions survive the end of a task, and signing out at one task ends a session at the other', () => tasksShareSessions(deployment, send));

  checks.heading('While the store hangs');
  await checks.check('a request with a session is refused within 20 s, for the API and for the page; a request with a bearer token is served',
    () => refusedWhileItHangs(deployment, send, token));

  checks.heading('While the store is down');
  await checkStoreDown(checks, deployment, send, token);
}

async function checkWhatIsStored(checks: Checks, deployment: Deployment, send: Send): Promise<void> {
  const store = deployment.sessionServer!;
  const keys = async () => (await store.ask('KEYS', '*')) as string[];
  await checks.check('a session with 400 groups has one small cookie; if the session were in the cookie, it would need several', async () => {
    deployment.issuer.groups.set('many@example.com', Array.from({ length: 400 }, () => randomUUID()));
    const groups = { OAUTH2_PROXY_OIDC_GROUPS_CLAIM: 'groups', OAUTH2_PROXY_ALLOWED_GROUPS: undefined }; // not Google's
    const small = await deployment.withProxy(groups, async at => {
      const cookie = await cookieOfSignIn(deployment, at, 'many@example.com');
      assert.equal(await statusWithCookie(at, cookie), 200);
      return cookie;
    });
    assert(small.length < 260 && !small.includes(';'), `${small.length} characters`);
    const large = await deployment.withProxy({ ...cookieStore, ...groups }, at => cookieOfSignIn(deployment, at, 'many@example.com'));
    assert(large.split('; ').length > 1, large);
    return `${small.length} characters; in the cookie ${large.length} in ${large.split('; ').length} cookies`;
  });
  await checks.check('the store has one key for each session, which expires with it, and an encrypted value', async () => {
    const before = await keys();
    await cookieOfSignIn(deployment, send, 'reader@example.com');
    const [key, ...others] = (await keys()).filter(found => !before.includes(found));
    assert.deepEqual([key.startsWith(`${sessionCookieName}-`), others], [true, []]);
    const left = await store.ask('TTL', key) as number;
    assert(left > 11.9 * hours && left <= 12 * hours, `${left} s`);
    const value = await store.ask('GET', key) as string;
    for (const text of ['reader', 'example.com', 'eyJ']) {
      assert(!value.includes(text), `${text} can be read`);
    }
    return `${value.length} bytes`;
  });
}

async function checkSignOut(checks: Checks, deployment: Deployment, send: Send): Promise<void> {
  await checks.check('a copy of a cookie gets 401 after signing out; with the session in the cookie it would still be accepted', async () => {
    const cookie = await cookieOfSignIn(deployment, send);
    assert.equal(await statusWithCookie(send, cookie), 200);
    await signOut(send, cookie);
    assert.deepEqual([await statusWithCookie(send, cookie), await statusOfPage(send, cookie)], [401, 403]);
    await deployment.withProxy(cookieStore, async at => {
      const kept = await cookieOfSignIn(deployment, at);
      await signOut(at, kept);
      assert.equal(await statusWithCookie(at, kept), 200);
    });
  });
  await checks.check('signing out ends only this session, not others of the same person', async () => {
    const [one, other] = [await cookieOfSignIn(deployment, send), await cookieOfSignIn(deployment, send)];
    await signOut(send, one);
    assert.deepEqual([await statusWithCookie(send, one), await statusWithCookie(send, other)], [401, 200]);
  });
}

async function checkRefresh(checks: Checks, deployment: Deployment, send: Send): Promise<void> {
  await checks.check('a session is refreshed under a lock, and ends when the sign-in provider blocks the person', async () => {
    const locks = async () => await calls(deployment, 'evalsha') + await calls(deployment, 'eval');
    await deployment.withProxy({ OAUTH2_PROXY_COOKIE_REFRESH: '1s' }, async at => {
      const cookie = await cookieOfSignIn(deployment, at, 'leaver@example.com');
      await sleep(2100);
      const before = await locks();
      assert.deepEqual(await Promise.all(Array.from({ length: 5 }, () => statusWithCookie(at, cookie))), Array(5).fill(200));
      assert(await locks() > before, 'no lock was taken');
      deployment.issuer.blocked.add('leaver@example.com');
      await sleep(2100);
      assert.equal(await statusWithCookie(at, cookie), 401);
    });
    assert.doesNotMatch(deployment.log('weaker-proxies'), /NOPERM|CROSSSLOT/);
  });
  await checks.check('another deployment with the same store accepts none of its sessions', async () => {
    const cookie = await cookieOfSignIn(deployment, send);
    await deployment.withProxy({ OAUTH2_PROXY_COOKIE_SECRET: 'x'.repeat(32) }, async at => assert.equal(await statusWithCookie(at, cookie), 401));
    assert.equal(await statusWithCookie(send, cookie), 200);
  });
}

async function checkRequestsToStore(checks: Checks, deployment: Deployment, send: Send, token: string): Promise<void> {
  await checks.check('a bearer token, or a cookie with a wrong signature, causes no request to the store', async () => {
    const cookie = await cookieOfSignIn(deployment, send);
    const before = await calls(deployment, 'get');
    assert.equal(await statusOfSearch(send, bearer(token)), 200);
    assert.equal(await statusWithCookie(send, `${cookie.slice(0, 60)}${cookie[60] === 'A' ? 'B' : 'A'}${cookie.slice(61)}`), 401);
    assert.equal(await calls(deployment, 'get'), before);
    assert.equal(await statusWithCookie(send, cookie), 200);
    assert.equal(await calls(deployment, 'get'), before + 1);
  });
}

/** The credentials of the proxy for the store. */
async function checkAccessToStore(checks: Checks, deployment: Deployment): Promise<void> {
  const { OAUTH2_PROXY_REDIS_PASSWORD: password, OAUTH2_PROXY_REDIS_CONNECTION_URL: url } = deployment.proxy.env;
  await checks.check('the password of the store is not in a plain setting or in a log', async () => {
    assert(password.length === 64 && deployment.proxy.definition.Secrets!.some(({ Name }) => Name === 'OAUTH2_PROXY_REDIS_PASSWORD'));
    assert(!JSON.stringify(deployment.proxy.definition).includes(password));
    assert(!deployment.log('oauth2-proxy').includes(password));
  });
  for (const [what, changes, reason] of [
    ['with a wrong password', { OAUTH2_PROXY_REDIS_PASSWORD: 'x'.repeat(64) }, /WRONGPASS/],
    ['without a user', { OAUTH2_PROXY_REDIS_USERNAME: undefined, OAUTH2_PROXY_REDIS_PASSWORD: undefined }, /NOAUTH/],
    ['with a certificate of a CA that it does not trust', trustingNobody, /certificate signed by unknown authority/],
    ['without TLS', { OAUTH2_PROXY_REDIS_CONNECTION_URL: url.replace('rediss:', 'redis:'), OAUTH2_PROXY_REDIS_CA_PATH: undefined }, /EOF|reset by peer|broken pipe/],
  ] as const) {
    await checks.check(`${what} the proxy exits and logs the reason`, async () => {
      const before = deployment.log('weaker-proxies').length;
      await assert.rejects(deployment.withProxy(changes, async () => undefined), /did not start/);
      const printed = deployment.log('weaker-proxies').slice(before);
      const line = printed.split('\n').find(text => reason.test(text));
      assert(line, printed);
      return line.trim();
    });
  }
}

/** Settings with which the proxy first connects to the store. It sends no request to the provider, whose certificate is from the same CA. */
const trustingNobody = {
  OAUTH2_PROXY_REDIS_CA_PATH: undefined,
  SSL_CERT_FILE: '/etc/group',
  SSL_CERT_DIR: '/nowhere',
  OAUTH2_PROXY_SKIP_OIDC_DISCOVERY: 'true',
  OAUTH2_PROXY_LOGIN_URL: 'https://nowhere.example',
  OAUTH2_PROXY_REDEEM_URL: 'https://nowhere.example',
  OAUTH2_PROXY_OIDC_JWKS_URL: 'https://nowhere.example',
  OAUTH2_PROXY_EXTRA_JWT_ISSUERS: undefined,
};

async function tasksShareSessions(deployment: Deployment, send: Send): Promise<void> {
  const first = { task: deployment.task, url: deployment.proxyUrl };
  const [kept, ended] = [await cookieOfSignIn(deployment, send), await cookieOfSignIn(deployment, send)];
  const second: TaskPlan = await deployment.addTask();
  const [atFirst, atSecond] = [first, second].map(task => client(task.url));
  await signOut(atSecond, ended);
  assert.deepEqual([await statusWithCookie(atFirst, ended), await statusWithCookie(atSecond, ended)], [401, 401]);
  await deployment.stopTask(first);
  assert.equal(await statusWithCookie(send, kept), 200);
}

async function refusedWhileItHangs(deployment: Deployment, send: Send, token: string): Promise<string> {
  const cookie = await cookieOfSignIn(deployment, send);
  const timed = async (ask: () => Promise<number>) => {
    const [began, status] = [Date.now(), await ask()];
    return { status, seconds: Math.round((Date.now() - began) / 1000) };
  };
  const [api, ofPage] = await deployment.sessionServer!.whileItHangs(async () => {
    assert.equal(await statusOfSearch(send, bearer(token)), 200);
    return [await timed(() => statusWithCookie(send, cookie)), await timed(() => statusOfPage(send, cookie))];
  });
  assert.deepEqual([api.status, ofPage.status], [401, 403]);
  assert(api.seconds < 20 && ofPage.seconds < 20, `${api.seconds} s, ${ofPage.seconds} s`);
  return `${api.seconds} s; for the page ${ofPage.seconds} s`;
}

async function checkStoreDown(checks: Checks, deployment: Deployment, send: Send, token: string): Promise<void> {
  const store = deployment.sessionServer!;
  const cookie = await cookieOfSignIn(deployment, send);
  await store.stop();
  await checks.check('requests with a session are treated as if there were none: 401, or the page that leads to the sign-in provider', async () => {
    const began = Date.now();
    assert.deepEqual([await statusWithCookie(send, cookie), await statusOfPage(send, cookie)], [401, 403]);
    return `${((Date.now() - began) / 2000).toFixed(1)} s each`;
  });
  await checks.check('requests with a bearer token are served, and the health check of the load balancer succeeds', async () => {
    assert.equal(await statusOfSearch(send, bearer(token)), 200);
    assert.equal((await send('/ping')).status, 200);
  });
  await checks.check('a sign-in ends with an error page without details', async () => {
    const { status, text } = await signInAt(deployment, send, 'someone@example.com');
    assert.equal(status, 500);
    assert.doesNotMatch(text, /redis|refused|6379|localhost:\d+.*connect/i);
    return `${status}`;
  });
  await checks.check('signing out fails with 500, because the session could not be removed', async () => {
    const { status } = await signOut(send, cookie);
    assert.equal(status, 500);
  });
  await checks.check('a new proxy exits and logs the reason', async () => {
    await assert.rejects(deployment.withProxy({}, async () => undefined), /connection refused/);
  });
  await store.resume();
  await checks.check('after a restart without its data, people sign in again', async () => {
    assert.deepEqual([await statusWithCookie(send, cookie), await statusOfPage(send, cookie)], [401, 403]);
    const again = await cookieOfSignIn(deployment, send);
    assert.deepEqual([await statusWithCookie(send, again), await statusOfPage(send, again)], [200, 200]);
  });
}

/** How often the store has run a command. */
async function calls({ sessionServer }: Deployment, command: string): Promise<number> {
  const statistics = await sessionServer!.ask('INFO', 'commandstats') as string;
  return Number(new RegExp(`cmdstat_${command}:calls=(\\d+)`).exec(statistics)?.[1] ?? 0);
}

async function statusWithCookie(at: Send, cookie: string): Promise<number> {
  return statusOfSearch(at, { cookie });
}

async function statusOfPage(at: Send, cookie: string): Promise<number> {
  return (await at('/', { headers: { cookie } })).status;
}

async function signOut(at: Send, cookie: string) {
  return at('/oauth2/sign_out', { headers: { cookie } });
}

/** The session cookies after a sign-in at a proxy. */
export async function cookieOfSignIn(deployment: Deployment, at: Send, email = 'someone@example.com'): Promise<string> {
  const { status, text, cookies } = await signInAt(deployment, at, email);
  assert.equal(status, 302, text);
  return cookies.join('; ');
}

/** Signs in at a proxy. Also works for a second proxy, to which the provider does not redirect. */
async function signInAt({ url, issuer }: Deployment, at: Send, email: string) {
  const cookiesOf = (headers: Awaited<ReturnType<Send>>['headers']) => (headers['set-cookie'] ?? []).map(text => text.split(';')[0]);
  const start = await at('/oauth2/start?rd=/');
  assert(start.headers.location?.startsWith(issuer.issuer), `${start.status} ${start.body}`);
  const person = await Person.meet(email);
  const { url: callback } = await person.open(start.headers.location!, `${url}/oauth2/callback`);
  await person.leave();
  const { status, headers, body } = await at(callback.slice(url.length), { headers: { cookie: cookiesOf(start.headers).join('; ') } });
  return { status, text: body, cookies: cookiesOf(headers).filter(givesSession) };
}

/** False for cookies that the proxy removes, which have no value. */
function givesSession(cookie: string): boolean {
  const [name, value] = cookie.split(/=(.*)/s);
  return isSessionCookie(name) && value !== '';
}
