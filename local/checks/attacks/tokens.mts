/** Bearer tokens with a flaw. */

import assert from 'node:assert/strict';
import { forgedTokens } from './forgeries.mjs';
import type { SignInSuite } from './suite.mjs';
import { SigningKey } from '../../aws/issuer.mjs';
import { bearer } from '../../clients/http.mjs';

export async function badTokensGetNobodyIn(suite: SignInSuite): Promise<void> {
  const { checks, deployment: { issuer: { key }, clients: { proxy } } } = suite;
  const stranger = new SigningKey(key.kid);
  checks.heading('These bearer tokens are rejected');
  await checks.check('(a token without a flaw is accepted)', async () => {
    assert(await suite.opens(bearer(await key.sign(suite.claims())))(suite.send));
  });

  await suite.attack('no token', suite.opens({}), { OAUTH2_PROXY_SKIP_AUTH_ROUTES: '.*' });
  await suite.attack('expired', suite.token({ exp: seconds() - 1 }));
  await suite.attack('not valid before ten minutes from now', suite.token({ nbf: seconds() + 600 }));
  await suite.attack('for another audience', suite.token({ aud: 'another-client' }), { OAUTH2_PROXY_OIDC_EXTRA_AUDIENCES: 'another-client' });
  await suite.attack('from another issuer', suite.token({ iss: 'https://issuer.evil.example' }));
  await suite.attack('from another issuer, with its own key', async send => {
    const token = await stranger.sign(suite.claims({ iss: 'https://issuer.evil.example' }), { jku: 'https://issuer.evil.example/jwks' });
    return suite.opens(bearer(token))(send);
  });
  const pem = key.publicKey.export({ type: 'spki', format: 'pem' }) as string;
  for (const [flaw, token] of await forgedTokens(await key.sign(suite.claims()), pem)) {
    await suite.attack(flaw, suite.opens(bearer(token)));
  }
  await suite.attack('changed after signing to an allowed address', async send => {
    const [head, , signature] = (await key.sign(suite.claims({ email: 'someone@evil.example' }))).split('.');
    return suite.opens(bearer(`${head}.${Buffer.from(JSON.stringify(suite.claims())).toString('base64url')}.${signature}`))(send);
  });
  await suite.attack('as the password, expired', async send => {
    const token = await key.sign(suite.claims({ exp: seconds() - 1 }));
    return suite.opens({ authorization: `Basic ${Buffer.from(`x:${token}`).toString('base64')}` })(send);
  });
  await suite.attack('the client id and secret as user and password', suite.opens({ authorization: `Basic ${Buffer.from(`${proxy.id}:${proxy.secret}`).toString('base64')}` }));
}

function seconds(): number {
  return Math.floor(Date.now() / 1000);
}
