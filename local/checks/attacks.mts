/**
 * What must not get anybody in. Each attack is first seen to work where its defence is missing: `without` are settings of
 * oauth2-proxy that take it away (undefined: removed), and a second proxy with them is attacked beside the real one. Attacks
 * on the library's own signature checks have no such setting; for them the same token without the flaw is seen to get in.
 */

import type { Checks } from './checks.mjs';
import type { Send } from '../clients/http.mjs';
import type { Deployment } from '../deployment.mjs';
import { aBurstIsRefused } from './attacks/burst.mjs';
import { otherAddressesGetNobodyIn } from './attacks/email-addresses.mjs';
import { forgedHeadersChangeNothing } from './attacks/forged-headers.mjs';
import { pathsLeadNowhere } from './attacks/paths.mjs';
import { rulesBesideTheDomains } from './attacks/rules.mjs';
import { badSessionsGetNobodyIn } from './attacks/sessions.mjs';
import { requestsSmuggleNothingIn } from './attacks/smuggling.mjs';
import { SignInSuite } from './attacks/suite.mjs';
import { badTokensGetNobodyIn } from './attacks/tokens.mjs';

export async function checkAttacks(checks: Checks, deployment: Deployment, send: Send): Promise<void> {
  // Behind the proxy stands the inner door, which would hide that a weaker proxy lets somebody in.
  const bare = await deployment.startServerWithoutDoor();
  const suite = new SignInSuite(checks, deployment, send, bare.url);
  await badTokensGetNobodyIn(suite);
  await otherAddressesGetNobodyIn(suite);
  await rulesBesideTheDomains(suite);
  await forgedHeadersChangeNothing(suite);
  await pathsLeadNowhere(suite);
  await badSessionsGetNobodyIn(suite);
  await requestsSmuggleNothingIn(suite);
  await aBurstIsRefused(suite);
  await bare.stop();
}
