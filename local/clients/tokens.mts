/** Gets ID tokens with the authorization-code flow, as a command-line tool does. */

import * as oidc from 'openid-client';
import { Person } from './person.mjs';
import { toolRedirectUri, type Clients, type IdentityProvider } from '../providers/identity-provider.mjs';

/** A person whom the settings of the proxy allow: in the first domain, and in every allowed group. */
export function somebodyOf(proxy: Record<string, string>, issuer: IdentityProvider): { readonly reader: string; readonly domain: string } {
  const domain = (proxy.OAUTH2_PROXY_EMAIL_DOMAINS ?? '').split(',').find(name => !name.includes('*')) || 'example.com';
  const reader = `someone@${domain}`;
  if (proxy.OAUTH2_PROXY_OIDC_GROUPS_CLAIM !== 'hd') { // Google's claim, which is the domain
    issuer.groups.set(reader, (proxy.OAUTH2_PROXY_ALLOWED_GROUPS ?? '').split(',').filter(Boolean));
  }
  return { reader, domain };
}

/** A person's ID token: for the client of another tool, as from `gcloud auth print-identity-token`, or for the client of oauth2-proxy. */
export async function personToken(issuer: string, { toolId, proxy }: Clients, email: string): Promise<string> {
  return toolId === undefined
    ? idToken(issuer, proxy.id, oidc.ClientSecretBasic(proxy.secret), proxy.redirectUri, email)
    : idToken(issuer, toolId, oidc.None(), toolRedirectUri, email);
}

async function idToken(issuer: string, clientId: string, authentication: oidc.ClientAuth, redirectUri: string, email: string): Promise<string> {
  const configuration = await oidc.discovery(new URL(issuer), clientId, undefined, authentication, { execute: [oidc.allowInsecureRequests] });
  const pkceCodeVerifier = oidc.randomPKCECodeVerifier();
  const expectedNonce = oidc.randomNonce();
  const address = oidc.buildAuthorizationUrl(configuration, {
    redirect_uri: redirectUri,
    scope: 'openid email profile',
    code_challenge: await oidc.calculatePKCECodeChallenge(pkceCodeVerifier),
    code_challenge_method: 'S256',
    nonce: expectedNonce,
  });
  const person = await Person.meet(email);
  try {
    const { url } = await person.open(address.href, redirectUri);
    const tokens = await oidc.authorizationCodeGrant(configuration, new URL(url), { pkceCodeVerifier, expectedNonce });
    return tokens.id_token!;
  } finally {
    await person.leave();
  }
}
