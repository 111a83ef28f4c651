/** What narrows or widens the rule of domains, with tokens of the provider. */

import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import type { JWTPayload } from 'jose';
import type { Settings, SignInSuite } from './suite.mjs';

export async function rulesBesideTheDomains(suite: SignInSuite): Promise<void> {
  const { checks, deployment } = suite;
  const inWith = (settings: Settings, claims: JWTPayload) => suite.withProxy(settings, suite.token(claims));
  checks.heading('Rules beside the domains');
  await checks.check('allowed groups: one of them is enough, another or none is not', async () => {
    const groups = { OAUTH2_PROXY_ALLOWED_GROUPS: 'ml-team,admins' };
    assert(await inWith(groups, { 'cognito:groups': ['other', 'admins'] }));
    assert(!await inWith(groups, { 'cognito:groups': ['other'] }));
    assert(!await inWith(groups, {}));
    assert(!await inWith(groups, { 'cognito:groups': ['admins'], 'email': 'someone@evil.example' }), 'groups do not replace the domains');
  });
  await checks.check('allowed groups hold for trusted issuers, by the claim that the provider uses', async () => {
    await suite.withProxy({ OAUTH2_PROXY_ALLOWED_GROUPS: 'admins' }, async send => {
      const enters = (claims: JWTPayload) => suite.roleToken(role => role, deployment.url, claims)(send);
      assert(await enters({ 'cognito:groups': ['admins'] }));
      assert(!await enters({ groups: ['admins'] }));
      assert(!await enters({}));
    });
  });
  await checks.check('allowed groups that come to nothing keep everybody out, with the name that nobody has; (without it they let everybody in)', async () => {
    assert(!await inWith({ OAUTH2_PROXY_ALLOWED_GROUPS: ',nobody:nobody' }, { 'cognito:groups': ['other'] }));
    assert(await inWith({ OAUTH2_PROXY_ALLOWED_GROUPS: '' }, { 'cognito:groups': ['other'] }));
    assert(await inWith({ OAUTH2_PROXY_ALLOWED_GROUPS: 'admins,nobody:nobody' }, { 'cognito:groups': ['admins'] }));
  });
  await checks.check('the claim that holds the address', async () => {
    const claim = { OAUTH2_PROXY_OIDC_EMAIL_CLAIM: 'upn' };
    assert(await inWith(claim, { email: undefined, upn: 'someone@example.com' }));
    assert(!await inWith(claim, { email: 'someone@example.com', upn: 'someone@evil.example' }));
  });
  // oauth2-proxy looks at `email_verified` for the claim `email` alone, so synthesis warns: docs/sign-in-oidc.md.
  await checks.check('(an address in another claim gets in, verified or not)', async () => {
    assert(await inWith({ OAUTH2_PROXY_OIDC_EMAIL_CLAIM: 'upn' }, { email: 'someone@evil.example', upn: 'someone@example.com', email_verified: false }));
    assert(!await inWith({}, { email_verified: false }));
  });
  await checks.check('an address on the list of machines, in any domain', async () => {
    const { definition: { Name }, env } = deployment.proxy;
    const list = join(dirname(env.OAUTH2_PROXY_AUTHENTICATED_EMAILS_FILE), 'machines-of-a-check.csv');
    writeFileSync(deployment.onDisk(Name, list), '"ci@project.iam.gserviceaccount.example"\n');
    const listed = { OAUTH2_PROXY_AUTHENTICATED_EMAILS_FILE: list };
    assert(await inWith(listed, { email: 'ci@project.iam.gserviceaccount.example' }));
    assert(!await inWith(listed, { email: 'other@project.iam.gserviceaccount.example' }));
  });
}
