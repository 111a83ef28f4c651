/**
 * Attacks on the sign-in, which must fail. Each attack is also tried where its defence is missing, and must succeed there: `without` holds the
 * settings of oauth2-proxy that remove the defence (undefined: removed), and a second proxy with these settings is attacked as well. The signature
 * checks of oauth2-proxy have no such setting. For them, the same token without the flaw must be accepted.
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
  // The server has no inner door, because the inner door would hide that a weaker proxy accepts a request.
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
