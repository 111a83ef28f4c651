/** The requests of people's browsers, also those that a page of an attacker causes. */

import assert from 'node:assert/strict';
import { setTimeout as sleep } from 'node:timers/promises';
import { statusOfSearch } from './api.mjs';
import type { Checks } from './checks.mjs';
import { callsGet401, leadsToProvider } from './server.mjs';
import { bearer, type Send } from '../clients/http.mjs';
import { isSessionCookie, Person } from '../clients/person.mjs';
import { personToken } from '../clients/tokens.mjs';
import type { Deployment } from '../deployment.mjs';

const create = '/ajax-api/2.0/mlflow/experiments/create';

export async function checkPeople(checks: Checks, deployment: Deployment, send: Send): Promise<void> {
  checks.heading('A person');
  await checkWayToProvider(checks, deployment, send);
  await checkMember(checks, deployment);
  await checkOutsiders(checks, deployment);
  await checks.check('has an hour for a sign-in, and sees the reason if it took longer', () => hasAnHour(deployment, send));
  await checks.check('with a personal Google account with a company address is refused, in the browser and with gcloud', () => refusesOwnGoogleAccount(deployment, send));

  const { clients, issuer } = deployment;
  checks.heading('Without signing in');
  await checks.check('calls of programs are rejected with 401', () => callsGet401(send));
  await checks.check('/health leads to the sign-in provider, and answers 200 with a bearer token', async () => {
    assert.equal((await send('/health')).status, 403);
    assert.equal((await send('/health', { headers: bearer(await personToken(issuer.issuer, clients, 'someone@example.com')) })).status, 200);
  });
  await checks.check('/ping answers 200', async () => assert.equal((await send('/ping')).status, 200));
}

async function checkWayToProvider(checks: Checks, deployment: Deployment, send: Send): Promise<void> {
  await checks.check('is redirected from http to https', () => redirectsToHttps(deployment));
  await checks.check('is redirected to the sign-in provider, with PKCE and a nonce', async () => {
    assert.equal(await leadsToProvider(deployment.url, send), deployment.issuer.issuer);
    const { headers } = await send('/oauth2/start?rd=/');
    assert(new URL(headers.location!).searchParams.get('nonce'), 'no nonce');
  });
}

async function checkMember(checks: Checks, { url }: Deployment): Promise<void> {
  const member = await Person.meet('someone@example.com');
  await checks.check('signs in and gets to the page', () => signsIn(member, url));
  await checks.check('has a cookie that is sent only to this host, over TLS, not readable by scripts, and not sent with writes of other sites', async () => {
    const { cookies: all } = await member.http.storageState();
    const cookies = all.filter(({ name }) => isSessionCookie(name));
    assert.equal(cookies.length, 1, all.map(({ name }) => name).join());
    const [{ secure, httpOnly, sameSite, path, domain }] = cookies;
    assert.deepEqual({ secure, httpOnly, sameSite, path, domain }, { secure: true, httpOnly: true, sameSite: 'Lax', path: '/', domain: new URL(url).hostname });
  });
  await checks.check('creates an experiment, as the page does', async () => {
    const response = await member.http.post(url + create, { headers: { origin: url }, data: { name: 'made in the page' } });
    assert.equal(response.status(), 200, await response.text());
  });
  await checks.check('is protected: a page of another site cannot write with this session', async () => {
    const response = await member.http.post(url + create, { headers: { origin: 'https://evil.example' }, data: { name: 'forged' } });
    assert.equal(response.status(), 403, await response.text());
  });
  await member.leave();
}

async function checkOutsiders(checks: Checks, { issuer, url }: Deployment): Promise<void> {
  const outsider = await Person.meet('someone@evil.example');
  await checks.check('from another domain is refused after signing in, and gets no session', async () => {
    const { status, text } = await outsider.open(`${url}/`);
    assert.equal(status, 403);
    assert.match(text, /The domain of its e-mail address may not enter/);
    assert.deepEqual(await sessionsOf(outsider), []);
    assert.equal((await outsider.http.post(url + create, { headers: { origin: url }, data: { name: 'forged' } })).status(), 401);
  });
  await outsider.leave();

  await checks.check('whose address the provider has not verified is refused', async () => {
    const email = 'unverified@example.com';
    issuer.unverified.add(email);
    const stranger = await Person.meet(email);
    const { status, text } = await stranger.open(`${url}/`);
    assert.equal(status, 403);
    assert.match(text, /The provider has not verified its e-mail address/);
    await stranger.leave();
  });
}

async function hasAnHour(deployment: Deployment, send: Send): Promise<void> {
  const begin = async (at: Send) => {
    const { headers } = await at('/oauth2/start?rd=/');
    return { cookie: headers['set-cookie']![0], state: new URL(headers.location!).searchParams.get('state')! };
  };
  assert.match((await begin(send)).cookie, /; Max-Age=3600;/);
  await deployment.withProxy({ OAUTH2_PROXY_COOKIE_CSRF_EXPIRE: '1s' }, async hasty => {
    const { cookie, state } = await begin(hasty);
    await sleep(2100);
    const { status, body } = await hasty(`/oauth2/callback?code=x&state=${encodeURIComponent(state)}`, { headers: { cookie: cookie.split(';')[0] } });
    assert.equal(status, 403);
    assert.match(body, /The sign-in began more than an hour ago .*Sign in again\./);
  });
}

/** All people can create such accounts at Google, and keep them when they leave the company. */
async function refusesOwnGoogleAccount(deployment: Deployment, send: Send): Promise<string> {
  const { clients, issuer, url } = deployment;
  const formerly = 'left@example.com';
  issuer.consumers.add(formerly);
  const leaver = await Person.meet(formerly);
  const { status, text } = await leaver.open(`${url}/`);
  assert.equal(status, 403);
  assert.match(text, /It belongs to no group that may enter/); // the sign-in page is a 403, too
  assert.deepEqual(await sessionsOf(leaver), []);
  await leaver.leave();
  const credentials = bearer(await personToken(issuer.issuer, clients, formerly));
  assert.equal(await statusOfSearch(send, credentials), 403);
  const weakly = await deployment.withProxy({ OAUTH2_PROXY_ALLOWED_GROUPS: undefined }, weak => statusOfSearch(weak, credentials));
  assert.equal(weakly, 200, 'the attack also fails without its defence');
  return 'succeeds without its defence';
}

async function sessionsOf(person: Person): Promise<string[]> {
  return (await person.http.storageState()).cookies.map(({ name }) => name).filter(isSessionCookie);
}

export async function redirectsToHttps({ plainUrl, url }: Deployment): Promise<void> {
  const response = await fetch(`${plainUrl}/some/page?x=1`, { redirect: 'manual' });
  assert.deepEqual([response.status, response.headers.get('location')], [301, `${url}/some/page?x=1`]);
}

export async function signsIn(person: Person, url: string): Promise<void> {
  const { url: end, status, text } = await person.open(`${url}/`);
  assert.deepEqual([end, status], [`${url}/`, 200]);
  assert.match(text, /<title>MLflow/);
}
