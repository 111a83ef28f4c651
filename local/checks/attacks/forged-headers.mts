/** Forged headers that name a person, or the origin or the target of a request. */

import { headers } from './forgeries.mjs';
import type { Settings, SignInSuite } from './suite.mjs';
import { sessionCookie } from '../../clients/person.mjs';
import { assistant } from '../api.mjs';

export async function forgedHeadersChangeNothing(suite: SignInSuite): Promise<void> {
  const cookie = await sessionCookie(suite.deployment.url, 'someone@example.com');
  suite.checks.heading('Forged headers have no effect');
  const defences: Record<keyof typeof headers, Settings | undefined> = {
    'the name of the signed-in person': { OAUTH2_PROXY_SKIP_AUTH_ROUTES: '.*' },
    'another path that needs no sign-in': { OAUTH2_PROXY_REVERSE_PROXY: 'true', OAUTH2_PROXY_SKIP_AUTH_ROUTES: '^/ping$' },
    'a trusted client address': { OAUTH2_PROXY_REVERSE_PROXY: 'true', OAUTH2_PROXY_TRUSTED_IPS: '127.0.0.1', OAUTH2_PROXY_REAL_CLIENT_IP_HEADER: 'X-Real-IP' },
    'the user agent of a health check': undefined,
  };
  for (const [what, forged] of Object.entries(headers)) {
    await suite.attack(what, suite.opens(forged), defences[what as keyof typeof headers]);
  }
  await suite.attack('the host to which the sign-in returns', async send => {
    const answer = await send('/oauth2/start', { headers: { 'x-forwarded-host': 'evil.example', 'x-forwarded-proto': 'http', 'host': 'evil.example', 'forwarded': 'host=evil.example' } });
    return answer.headers.location!.includes('evil.example');
  }, { OAUTH2_PROXY_REDIRECT_URL: '/oauth2/callback', OAUTH2_PROXY_REVERSE_PROXY: 'true' });
  await suite.attack('the address of the client, to reach the assistant with a session', async send => {
    const { status } = await send(assistant, { headers: { cookie, 'x-forwarded-for': '127.0.0.1', 'x-real-ip': '127.0.0.1', 'forwarded': 'for=127.0.0.1' } });
    return status === 200;
  }, { OAUTH2_PROXY_UPSTREAMS: suite.upstreams[0] });
}
