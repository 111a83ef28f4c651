/** Rules that narrow or widen the rule of domains, tested with tokens of the sign-in provider. */

import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import type { JWTPayload } from 'jose';
import type { Settings, SignInSuite } from './suite.mjs';

export async function rulesBesideTheDomains(suite: SignInSuite): Promise<void> {
  const { checks, deployment } = suite;
  const inWith = (settings: Settings, claims: JWTPayload) => suite.withProxy(settings, suite.token(claims));
  checks.heading('Rules in addition to the domains');
  await checks.check('allowed groups: a person in one of them is accepted, a person in another group or in none is rejected', async () => {
    const groups = { OAUTH2_PROXY_ALLOWED_GROUPS: 'ml-team,admins' };
    assert(await inWith(groups, { 'cognito:groups': ['other', 'admins'] }));
    assert(!await inWith(groups, { 'cognito:groups': ['other'] }));
    assert(!await inWith(groups, {}));
    assert(!await inWith(groups, { 'cognito:groups': ['admins'], 'email': 'someone@evil.example' }), 'groups do not replace the domains');
  });
  await checks.check('allowed groups also apply to trusted issuers, with the claim that the sign-in provider uses', async () => {
    await suite.withProxy({ OAUTH2_PROXY_ALLOWED_GROUPS: 'admins' }, async send => {
      const enters = (claims: JWTPayload) => suite.roleToken(role => role, deployment.url, claims)(send);
      assert(await enters({ 'cognito:groups': ['admins'] }));
      assert(!await enters({ groups: ['admins'] }));
      assert(!await enters({}));
    });
  });
  await checks.check('an empty list of allowed groups rejects all people because of its unused name; (without that name, all people would be accepted)', async () => {
    assert(!await inWith({ OAUTH2_PROXY_ALLOWED_GROUPS: ',nobody:nobody' }, { 'cognito:groups': ['other'] }));
    assert(await inWith({ OAUTH2_PROXY_ALLOWED_GROUPS: '' }, { 'cognito:groups': ['other'] }));
    assert(await inWith({ OAUTH2_PROXY_ALLOWED_GROUPS: 'admins,nobody:nobody' }, { 'cognito:groups': ['admins'] }));
  });
  await checks.check('the claim that contains the address', async () => {
    const claim = { OAUTH2_PROXY_OIDC_EMAIL_CLAIM: 'upn' };
    assert(await inWith(claim, { email: undefined, upn: 'someone@example.com' }));
    assert(!await inWith(claim, { email: 'someone@example.com', upn: 'someone@evil.example' }));
  });
  // oauth2-proxy checks `email_verified` only for the claim `email`, so synthesis warns: docs/sign-in-oidc.md.
  await checks.check('(an address in another claim is accepted, verified or not)', async () => {
    assert(await inWith({ OAUTH2_PROXY_OIDC_EMAIL_CLAIM: 'upn' }, { email: 'someone@evil.example', upn: 'someone@example.com', email_verified: false }));
    assert(!await inWith({}, { email_verified: false }));
  });
  await checks.check('an address on the list of machines is accepted, in any domain', async () => {
    const { definition: { Name }, env } = deployment.proxy;
    const list = join(dirname(env.OAUTH2_PROXY_AUTHENTICATED_EMAILS_FILE), 'machines-of-a-check.csv');
    writeFileSync(deployment.onDisk(Name, list), '"ci@project.iam.gserviceaccount.example"\n');
    const listed = { OAUTH2_PROXY_AUTHENTICATED_EMAILS_FILE: list };
    assert(await inWith(listed, { email: 'ci@project.iam.gserviceaccount.example' }));
    assert(!await inWith(listed, { email: 'other@project.iam.gserviceaccount.example' }));
  });
}
