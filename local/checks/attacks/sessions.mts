/** Cookies with a flaw, sessions that should have ended, and attempts of another site's page to use a valid session. */

import assert from 'node:assert/strict';
import { setTimeout as sleep } from 'node:timers/promises';
import type { SignInAttempt, SignInSuite } from './suite.mjs';
import { json } from '../../clients/http.mjs';
import { Person, sessionCookie } from '../../clients/person.mjs';
import { cookieOfSignIn } from '../sessions.mjs';

const someone = 'someone@example.com';
const refresh = { OAUTH2_PROXY_COOKIE_REFRESH: '1s', OAUTH2_PROXY_SESSION_COOKIE_MINIMAL: undefined };
const afterRefresh = 2100; // oauth2-proxy ignores the fraction of a second of the current time, but not of the session's begin

export async function badSessionsGetNobodyIn(suite: SignInSuite): Promise<void> {
  const cookie = await sessionCookie(suite.deployment.url, someone);
  suite.checks.heading('These sessions are rejected');
  await badCookiesGetNobodyIn(suite, cookie);
  await sessionsEnd(suite);
  await otherSitesDoNothing(suite, cookie);
}

async function badCookiesGetNobodyIn(suite: SignInSuite, cookie: string): Promise<void> {
  const { checks, send } = suite;
  const withCookie = suite.opens({ cookie });
  const [name, value] = cookie.split(/=(.*)/s);
  await checks.check('(a cookie without a flaw is accepted)', async () => assert(await withCookie(send)));
  await suite.attack('a cookie that was changed', suite.opens({ cookie: `${name}=${value.slice(0, 40)}${value[40] === 'A' ? 'B' : 'A'}${value.slice(41)}` }));
  await suite.attack('a cookie without its signature', suite.opens({ cookie: `${name}=${value.split('|')[0]}` }));
  await suite.attack('a cookie with another name', suite.opens({ cookie: `_oauth2_proxy=${value}` }));
  await checks.check('a cookie of another deployment, and a cookie that is too old', async () => {
    await sleep(1000);
    assert(await suite.withProxy({}, withCookie), 'a proxy with the same secret must accept the cookie');
    assert(!await suite.withProxy({ OAUTH2_PROXY_COOKIE_SECRET: 'x'.repeat(32) }, withCookie), 'a proxy with another secret has accepted the cookie');
    assert(!await suite.withProxy({ OAUTH2_PROXY_COOKIE_EXPIRE: '1s' }, withCookie), 'a cookie older than the session was accepted');
  });
}

async function sessionsEnd(suite: SignInSuite): Promise<void> {
  const { checks, send, deployment } = suite;
  const { issuer, url } = deployment;
  await checks.check('a person whom the sign-in provider has blocked, at the next refresh; before that, the refresh token keeps the session', async () => {
    const person = 'leaver@example.com';
    await suite.withProxy(refresh, async refreshing => {
      const kept = await cookieOfSignIn(deployment, refreshing, person);
      await sleep(afterRefresh);
      assert(await suite.opens({ cookie: kept })(refreshing), 'the refresh must succeed');
      const blocked = await cookieOfSignIn(deployment, refreshing, person);
      issuer.blocked.add(person);
      assert(await suite.opens({ cookie: blocked })(refreshing), 'before the refresh the session must be valid');
      await sleep(afterRefresh);
      assert(!await suite.opens({ cookie: blocked })(refreshing), 'the session is still valid');
    });
  });
  await checks.check('a person without a refresh token, at the first refresh after the ID token has expired, but not earlier', async () => {
    Object.assign(issuer, { givesRefreshTokens: false, idTokenSeconds: 4 });
    try {
      await suite.withProxy(refresh, async refreshing => {
        const short = await cookieOfSignIn(deployment, refreshing);
        await sleep(afterRefresh);
        assert(await suite.opens({ cookie: short })(refreshing), 'the ID token is still valid');
        await sleep(3500);
        assert(!await suite.opens({ cookie: short })(refreshing), 'the session is still valid');
      });
    } finally {
      Object.assign(issuer, { givesRefreshTokens: true, idTokenSeconds: 8 * 3600 });
    }
  });
  // By default the session is only in the cookie, so signing out cannot end a copy. With a store on the server it does: ../sessions.mts.
  await checks.check('(a copy of a cookie stays valid after signing out, as long as the session would have lasted)', async () => {
    const person = await Person.meet(someone);
    await person.open(`${url}/`);
    const copy = await person.sessionCookie();
    await person.open(`${url}/oauth2/sign_out`, issuer.issuer);
    await person.leave();
    assert(await suite.opens({ cookie: copy })(send));
  });
}

async function otherSitesDoNothing(suite: SignInSuite, cookie: string): Promise<void> {
  const { checks, send, deployment: { url } } = suite;
  const writeFrom = (origin: string): SignInAttempt => async at => {
    const message = json({ name: `written ${Math.random()}` });
    const { status } = await at('/ajax-api/2.0/mlflow/experiments/create', { ...message, headers: { ...message.headers, cookie, origin } });
    return status === 200;
  };
  await checks.check('(a page of the server can write with a session)', async () => assert(await writeFrom(url)(send)));
  await suite.attack('a write with a session from a page of another site', writeFrom('https://evil.example'));
  const own = new URL(url).host;
  const elsewhere = [
    'https://evil.example/', '//evil.example/', '/\\evil.example/', '\\\\evil.example', 'https:evil.example', 'https:///evil.example', `https://${own}@evil.example/`, `https://${own}.evil.example/`,
    '/%09/evil.example', '/./\\evil.example', 'javascript:alert(1)', '/%5cevil.example',
  ];
  await suite.spellings(elsewhere, target => `signing out leads to ${target}`, target => async at => {
    const { headers } = await at(`/oauth2/sign_out?rd=${encodeURIComponent(target)}`);
    return new URL(headers.location!, url).origin !== url;
  }, { OAUTH2_PROXY_WHITELIST_DOMAINS: 'evil.example' });
  await suite.spellings(elsewhere, target => `signing in leads to ${target}`, target => async at => {
    const { headers } = await at(`/oauth2/start?rd=${encodeURIComponent(target)}`);
    const state = new URL(headers.location!).searchParams.get('state')!;
    return new URL(decodeURIComponent(state.slice(state.indexOf(':') + 1)), url).origin !== url;
  }, { OAUTH2_PROXY_WHITELIST_DOMAINS: 'evil.example' });
}
