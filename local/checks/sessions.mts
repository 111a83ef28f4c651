/** Sessions on the server: signing out ends them, their cookie is small, and what happens while their store is unreachable. */

import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Checks } from './checks.mjs';
import { checkPeople } from './people.mjs';
import { bearer, client, type Send } from '../clients/http.mjs';
import { Person } from '../clients/person.mjs';
import type { Deployment, TaskPlan } from '../deployment.mjs';

const search = '/api/2.0/mlflow/experiments/search?max_results=1';
const sessionCookie = '__Host-oauth2_proxy';
const hours = 3600;

export async function checkSessions(checks: Checks, deployment: Deployment, send: Send, token: string): Promise<void> {
  const { issuer } = deployment;
  const store = deployment.sessionServer!;
  const cookieStore = { OAUTH2_PROXY_SESSION_STORE_TYPE: 'cookie', OAUTH2_PROXY_SESSION_COOKIE_MINIMAL: 'true' }; // the default
  const signIn = (email = 'someone@example.com', at = send) => cookieOf(deployment, email, at);
  const opens = async (cookie: string, at = send) => (await at(search, { headers: { cookie } })).status;
  const page = async (cookie: string) => (await send('/', { headers: { cookie } })).status;
  const signOut = (cookie: string, at = send) => at('/oauth2/sign_out', { headers: { cookie } });
  /** With one more proxy, until `use` has ended. */
  async function withProxy<T>(changes: Record<string, string | undefined>, use: (at: Send) => Promise<T>): Promise<T> {
    const proxy = await deployment.startProxy(changes);
    try {
      return await use(proxy.send);
    } finally {
      await proxy.stop();
    }
  }
  const keys = async () => (await store.ask('KEYS', '*')) as string[];
  const calls = async (command: string) => Number(new RegExp(`cmdstat_${command}:calls=(\\d+)`).exec(await store.ask('INFO', 'commandstats') as string)?.[1] ?? 0);

  await checkPeople(checks, deployment, send);

  checks.heading('Sessions on the server');
  await checks.check('a session with 400 groups is one small cookie; in the cookie itself it takes several', async () => {
    issuer.groups.set('many@example.com', Array.from({ length: 400 }, () => randomUUID()));
    const groups = { OAUTH2_PROXY_OIDC_GROUPS_CLAIM: 'groups', OAUTH2_PROXY_ALLOWED_GROUPS: undefined }; // not Google's
    const small = await withProxy(groups, at => signIn('many@example.com', at));
    assert(small.length < 260 && !small.includes(';'), `${small.length} characters`);
    const large = await withProxy({ ...cookieStore, ...groups }, at => signIn('many@example.com', at));
    assert(large.split('; ').length > 1, large);
    return `${small.length} characters; else ${large.length} in ${large.split('; ').length} cookies`;
  });
  await checks.check('the store has one key for each session, which expires with it, and an encrypted value', async () => {
    const before = await keys();
    await signIn('reader@example.com');
    const [key, ...others] = (await keys()).filter(found => !before.includes(found));
    assert.deepEqual([key.startsWith(`${sessionCookie}-`), others], [true, []]);
    const left = await store.ask('TTL', key) as number;
    assert(left > 11.9 * hours && left <= 12 * hours, `${left} s`);
    const value = await store.ask('GET', key) as string;
    for (const text of ['reader', 'example.com', 'eyJ']) {
      assert(!value.includes(text), `${text} can be read`);
    }
    return `${value.length} bytes`;
  });
  await checks.check('a copy of a cookie gets 401 after signing out; with the session in the cookie it still gets in', async () => {
    const cookie = await signIn();
    assert.equal(await opens(cookie), 200);
    await signOut(cookie);
    assert.deepEqual([await opens(cookie), await page(cookie)], [401, 403]);
    await withProxy(cookieStore, async at => {
      const kept = await signIn('someone@example.com', at);
      await signOut(kept, at);
      assert.equal(await opens(kept, at), 200);
    });
  });
  await checks.check('signing out ends this session and no other of the same person', async () => {
    const [one, other] = [await signIn(), await signIn()];
    await signOut(one);
    assert.deepEqual([await opens(one), await opens(other)], [401, 200]);
  });
  await checks.check('a session is refreshed under a lock, and ends when the provider blocks the person', async () => {
    await withProxy({ OAUTH2_PROXY_COOKIE_REFRESH: '1s' }, async at => {
      const cookie = await signIn('leaver@example.com', at);
      await sleep(2100);
      const locks = await calls('evalsha') + await calls('eval');
      assert.deepEqual(await Promise.all(Array.from({ length: 5 }, () => opens(cookie, at))), Array(5).fill(200));
      assert(await calls('evalsha') + await calls('eval') > locks, 'no lock was taken');
      issuer.blocked.add('leaver@example.com');
      await sleep(2100);
      assert.equal(await opens(cookie, at), 401);
    });
    assert.doesNotMatch(proxyLog(deployment, 'weaker-proxies'), /NOPERM|CROSSSLOT/);
  });
  await checks.check('another deployment with the same store accepts none of its sessions', async () => {
    const cookie = await signIn();
    await withProxy({ OAUTH2_PROXY_COOKIE_SECRET: 'x'.repeat(32) }, async at => assert.equal(await opens(cookie, at), 401));
    assert.equal(await opens(cookie), 200);
  });
  await checks.check('neither a token nor a cookie with a wrong signature causes a request to the store', async () => {
    const cookie = await signIn();
    const before = await calls('get');
    assert.equal((await send(search, { headers: bearer(token) })).status, 200);
    assert.equal(await opens(`${cookie.slice(0, 60)}${cookie[60] === 'A' ? 'B' : 'A'}${cookie.slice(61)}`), 401);
    assert.equal(await calls('get'), before);
    assert.equal(await opens(cookie), 200);
    assert.equal(await calls('get'), before + 1);
  });
  await checks.check('the password of the store is in no plain setting and in no log', async () => {
    const { OAUTH2_PROXY_REDIS_PASSWORD: password } = deployment.proxy.env;
    assert(password.length === 64 && deployment.proxy.definition.Secrets!.some(({ Name }) => Name === 'OAUTH2_PROXY_REDIS_PASSWORD'));
    assert(!JSON.stringify(deployment.proxy.definition).includes(password));
    assert(!proxyLog(deployment, 'oauth2-proxy').includes(password));
  });
  for (const [what, changes, reason] of [
    ['with a wrong password', { OAUTH2_PROXY_REDIS_PASSWORD: 'x'.repeat(64) }, /WRONGPASS/],
    ['without a user', { OAUTH2_PROXY_REDIS_USERNAME: undefined, OAUTH2_PROXY_REDIS_PASSWORD: undefined }, /NOAUTH/],
    ['with a certificate of a CA that it does not trust', { OAUTH2_PROXY_REDIS_CA_PATH: undefined }, /certificate signed by unknown authority/],
    ['without TLS', { OAUTH2_PROXY_REDIS_CONNECTION_URL: deployment.proxy.env.OAUTH2_PROXY_REDIS_CONNECTION_URL.replace('rediss:', 'redis:'), OAUTH2_PROXY_REDIS_CA_PATH: undefined }, /EOF|reset by peer|broken pipe/],
  ] as const) {
    await checks.check(`${what} the proxy exits and says why`, async () => {
      const before = proxyLog(deployment, 'weaker-proxies').length;
      await assert.rejects(withProxy(changes, async () => undefined), /did not start/);
      const line = proxyLog(deployment, 'weaker-proxies').slice(before).split('\n').find(text => reason.test(text));
      assert(line, proxyLog(deployment, 'weaker-proxies').slice(before));
      return line.trim();
    });
  }

  checks.heading('More tasks');
  await checks.check('sessions survive the end of a task, and signing out at one task ends a session at the other', async () => {
    const first = { task: deployment.task, url: deployment.proxyUrl };
    const [kept, ended] = [await signIn(), await signIn()];
    const second: TaskPlan = await deployment.addTask();
    const [atFirst, atSecond] = [first, second].map(task => client(task.url));
    await signOut(ended, atSecond);
    assert.deepEqual([await opens(ended, atFirst), await opens(ended, atSecond)], [401, 401]);
    await deployment.stopTask(first);
    assert.equal(await opens(kept), 200);
  });

  checks.heading('While the store hangs');
  await checks.check('a request with a session is refused within 20 s, for the API and for the page; one with a token is served', async () => {
    const cookie = await signIn();
    const timed = async (ask: () => Promise<number>) => {
      const [began, status] = [Date.now(), await ask()];
      return { status, seconds: Math.round((Date.now() - began) / 1000) };
    };
    const [api, ofPage] = await store.whileItHangs(async () => {
      assert.equal((await send(search, { headers: bearer(token) })).status, 200);
      return [await timed(() => opens(cookie)), await timed(() => page(cookie))];
    });
    assert.deepEqual([api.status, ofPage.status], [401, 403]);
    assert(api.seconds < 20 && ofPage.seconds < 20, `${api.seconds} s, ${ofPage.seconds} s`);
    return `${api.seconds} s; for the page ${ofPage.seconds} s`;
  });

  checks.heading('While the store is down');
  const cookie = await signIn();
  await store.stop();
  await checks.check('requests with a session are refused as if there were none: 401, or the page that leads to the provider', async () => {
    const began = Date.now();
    assert.deepEqual([await opens(cookie), await page(cookie)], [401, 403]);
    return `${((Date.now() - began) / 2000).toFixed(1)} s each`;
  });
  await checks.check('requests with a token are served, and the health check of the load balancer passes', async () => {
    assert.equal((await send(search, { headers: bearer(token) })).status, 200);
    assert.equal((await send('/ping')).status, 200);
  });
  await checks.check('a sign-in ends with an error page without details', async () => {
    const { status, text } = await signInAt(deployment, 'someone@example.com', send);
    assert.equal(status, 500);
    assert.doesNotMatch(text, /redis|refused|6379|localhost:\d+.*connect/i);
    return `${status}`;
  });
  await checks.check('signing out fails with 500: the session could not be removed', async () => {
    const { status } = await signOut(cookie);
    assert.equal(status, 500);
  });
  await checks.check('a proxy that is started exits and says why', async () => {
    await assert.rejects(withProxy({}, async () => undefined), /connection refused/);
  });
  await store.resume();
  await checks.check('after a restart without its data people sign in again', async () => {
    assert.deepEqual([await opens(cookie), await page(cookie)], [401, 403]);
    const again = await signIn();
    assert.deepEqual([await opens(again), await page(again)], [200, 200]);
  });
}

function proxyLog({ logs }: Deployment, name: string): string {
  return readFileSync(join(logs, `${name}.log`), 'utf8');
}

/** The cookies of the session that a sign-in gives. */
async function cookieOf(deployment: Deployment, email: string, at: Send): Promise<string> {
  const { status, text, cookies } = await signInAt(deployment, email, at);
  assert.equal(status, 302, text);
  return cookies.join('; ');
}

/** The sign-in itself, at a proxy beside the real one too, to which the provider does not lead back. */
async function signInAt({ url, issuer }: Deployment, email: string, at: Send) {
  const cookiesOf = (headers: Awaited<ReturnType<Send>>['headers']) => (headers['set-cookie'] ?? []).map(text => text.split(';')[0]);
  const start = await at('/oauth2/start?rd=/');
  assert(start.headers.location?.startsWith(issuer.issuer), `${start.status} ${start.body}`);
  const person = await Person.meet(email);
  const { url: callback } = await person.open(start.headers.location!, `${url}/oauth2/callback`);
  await person.leave();
  const { status, headers, body } = await at(callback.slice(url.length), { headers: { cookie: cookiesOf(start.headers).join('; ') } });
  return { status, text: body, cookies: cookiesOf(headers).filter(text => new RegExp(`^${sessionCookie}(_\\d+)?=.`).test(text)) };
}
