/** Headers that say who somebody is, or where a request comes from and goes to. */

import type { OutgoingHttpHeaders } from 'node:http';
import type { SignInSuite } from './suite.mjs';
import { sessionCookie } from '../../clients/person.mjs';
import { assistant } from '../api.mjs';

export async function forgedHeadersChangeNothing(suite: SignInSuite): Promise<void> {
  const cookie = await sessionCookie(suite.deployment.url, 'someone@example.com');
  suite.checks.heading('Forged headers that change nothing');
  const forged: OutgoingHttpHeaders = {
    'x-forwarded-user': 'someone@example.com',
    'x-forwarded-email': 'someone@example.com',
    'x-forwarded-preferred-username': 'someone',
    'x-forwarded-groups': 'admins',
    'x-auth-request-user': 'someone@example.com',
    'x-auth-request-email': 'someone@example.com',
    'x-forwarded-access-token': 'x',
  };
  await suite.attack('who is signed in', suite.opens(forged), { OAUTH2_PROXY_SKIP_AUTH_ROUTES: '.*' });
  await suite.attack('another path, of one that needs no sign-in', suite.opens({
    'x-forwarded-uri': '/ping', 'x-original-url': '/ping', 'x-original-uri': '/ping', 'x-rewrite-url': '/ping', 'x-forwarded-path': '/ping',
  }), { OAUTH2_PROXY_REVERSE_PROXY: 'true', OAUTH2_PROXY_SKIP_AUTH_ROUTES: '^/ping$' });
  await suite.attack('a trusted client address', suite.opens({ 'x-real-ip': '127.0.0.1', 'x-forwarded-for': '127.0.0.1', 'x-client-ip': '127.0.0.1', 'forwarded': 'for=127.0.0.1;host=127.0.0.1:5000' }), {
    OAUTH2_PROXY_REVERSE_PROXY: 'true', OAUTH2_PROXY_TRUSTED_IPS: '127.0.0.1', OAUTH2_PROXY_REAL_CLIENT_IP_HEADER: 'X-Real-IP',
  });
  await suite.attack('the user agent of a health check', suite.opens({ 'user-agent': 'GoogleHC/1.0' }));
  await suite.attack('where the sign-in returns to', async send => {
    const { headers } = await send('/oauth2/start', { headers: { 'x-forwarded-host': 'evil.example', 'x-forwarded-proto': 'http', 'host': 'evil.example', 'forwarded': 'host=evil.example' } });
    return headers.location!.includes('evil.example');
  }, { OAUTH2_PROXY_REDIRECT_URL: '/oauth2/callback', OAUTH2_PROXY_REVERSE_PROXY: 'true' });
  await suite.attack('the client address, to reach the assistant with a session', async send => {
    const { status } = await send(assistant, { headers: { cookie, 'x-forwarded-for': '127.0.0.1', 'x-real-ip': '127.0.0.1', 'forwarded': 'for=127.0.0.1' } });
    return status === 200;
  }, { OAUTH2_PROXY_UPSTREAMS: suite.upstreams[0] });
}
