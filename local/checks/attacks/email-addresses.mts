/** Addresses of other domains, and subjects that oauth2-proxy treats as addresses. */

import type { SignInSuite } from './suite.mjs';
import { lifetime } from '../../aws/issuer.mjs';
import { bearer } from '../../clients/http.mjs';

export async function otherAddressesGetNobodyIn(suite: SignInSuite): Promise<void> {
  const everyone = { OAUTH2_PROXY_EMAIL_DOMAINS: '*' };
  suite.checks.heading('These addresses are rejected');
  await suite.attack('not verified', suite.token({ email_verified: false }), { OAUTH2_PROXY_INSECURE_OIDC_ALLOW_UNVERIFIED_EMAIL: 'true' });
  for (const email of [
    'someone@evil.example', 'someone@example.com.evil.example', 'someone@evilexample.com', 'someone@EVILEXAMPLE.COM', 'someone@sub.example.com', 'someone@example.com.', 'someone@evil.example@example.com',
    'someone@example.com@evil.example', 'example.com', 'someone@example.com,evil.example', ' ',
  ]) {
    await suite.attack(JSON.stringify(email), suite.token({ email }), everyone);
  }
  // The proxy accepts the subject of a trusted issuer if it ends like an address. Only the inner door rejects it.
  await suite.attack('the subject of a CI job whose branch has a name like an address', suite.token({ email: undefined, sub: 'repo:evil/x:ref:refs/heads/x@example.com' }), {});
  await suite.attack('a role with a name like an address', suite.roleToken(role => role.replace(/[^/]+$/, 'x@example.com')), {});
  await suite.attack('the subject of a CI job, where bearer tokens are off, as with GitLab', () => suite.withProxy(
    { OAUTH2_PROXY_SKIP_JWT_BEARER_TOKENS: 'false', OAUTH2_PROXY_EXTRA_JWT_ISSUERS: undefined },
    suite.token({ email: undefined, sub: 'project_path:evil/x:ref_type:branch:ref:x@example.com' }),
  ));
  await suite.attack('a subject without an address', suite.token({ email: undefined, sub: 'arn:aws:iam::123456789012:role/nobody' }), everyone);
  await suite.attack('a subject that is not on the list, from the issuer of AWS roles', suite.roleToken(role => `${role}x`), everyone);
  await suite.attack('a role on the list, but in another account', suite.roleToken(role => role.replace(/::\d+:/, '::999999999999:')), everyone);
  await suite.attack('a role on the list, for another audience', suite.roleToken(role => role, 'https://other.example.com'));
  await suite.attack('a role on the list, signed by the sign-in provider', async send => {
    const { issuer, account } = suite.deployment;
    const claims = { iss: account!.issuer, sub: suite.listedRole, aud: suite.deployment.url, ...lifetime(60) };
    return suite.opens(bearer(await issuer.key.sign(claims)))(send);
  });
}
