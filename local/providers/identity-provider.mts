/** A stand-in for the sign-in provider (OpenID Connect). Its sign-in page accepts any address. */

import './quiet.mjs';
import { randomBytes } from 'node:crypto';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { text } from 'node:stream/consumers';
import { interactionPolicy, Provider } from 'oidc-provider';
import type { Certificate } from '../aws/certificates.mjs';
import { lifetime, SigningKey } from '../aws/issuer.mjs';
import { PlayedServer } from '../aws/played-server.mjs';
import type { Site } from '../worlds/world.mjs';

/** The redirect URI of command-line tools. No server listens there; the caller reads the code from the redirect. */
export const toolRedirectUri = 'http://127.0.0.1/signed-in';

const publicClient = { application_type: 'native' as const, token_endpoint_auth_method: 'none' as const };
const deviceGrant = 'urn:ietf:params:oauth:grant-type:device_code';

export interface Clients {
  readonly proxy: { readonly id: string; readonly secret: string; readonly redirectUri: string };
  /** The public client of another tool, such as gcloud, if there is one. */
  readonly toolId?: string;
  /** The client of the package for clients. */
  readonly tools?: { readonly id: string; readonly redirectUris: readonly string[] };
  /** Machine clients of Cognito. */
  readonly machines: { readonly id: string; readonly secret: string }[];
}

export class IdentityProvider extends PlayedServer {
  readonly key = new SigningKey('provider');
  /** Shorter in checks of renewals. */
  machineTokenSeconds = 3600;
  machineTokensIssued = 0;
  givesRefreshTokens = true;
  idTokenSeconds = 8 * 3600;
  /** Groups of people, by e-mail address. */
  readonly groups = new Map<string, string[]>();
  /** Addresses of people who are blocked. */
  readonly blocked = new Set<string>();
  /** Addresses of personal accounts, which people can create at Google: verified, but of no company. */
  readonly consumers = new Set<string>();
  /** Addresses that are not verified. */
  readonly unverified = new Set<string>();
  private readonly provider: Provider;

  readonly issuer: string;

  /** `pages` are its own pages, if they are on another host. */
  constructor(site: Site, pages: readonly Site[], private readonly clients: Clients, certificate: Certificate) {
    super([site, ...pages], certificate);
    this.issuer = site.here;
    const policy = interactionPolicy.base();
    policy.get('consent')!.checks.remove('native_client_prompt'); // no consent page
    this.provider = new Provider(this.issuer, {
      clients: [
        {
          client_id: clients.proxy.id,
          client_secret: clients.proxy.secret,
          redirect_uris: [clients.proxy.redirectUri],
          grant_types: ['authorization_code', 'refresh_token'],
        },
        ...clients.toolId === undefined ? [] : [{ ...publicClient, client_id: clients.toolId, redirect_uris: [toolRedirectUri] }],
        ...clients.tools === undefined ? [] : [{
          ...publicClient, client_id: clients.tools.id, redirect_uris: [...clients.tools.redirectUris], grant_types: ['authorization_code', 'refresh_token', deviceGrant],
        }],
      ],
      claims: { openid: ['sub'], email: ['email', 'email_verified', 'hd'], profile: ['name', 'groups', 'cognito:groups'] },
      conformIdTokenClaims: false, // the address is in the ID token, as with Google
      findAccount: (_, email) => this.blocked.has(email) ? undefined : { accountId: email, claims: () => this.claims(email) },
      async loadExistingGrant(context) { // gives consent to everything
        const grant = new context.oidc.provider.Grant({ clientId: context.oidc.client!.clientId, accountId: context.oidc.session!.accountId });
        grant.addOIDCScope('openid email profile');
        await grant.save();
        return grant;
      },
      issueRefreshToken: async () => this.givesRefreshTokens,
      interactions: { policy, url: (_, interaction) => `/interaction/${interaction.uid}` },
      features: { devInteractions: { enabled: false }, deviceFlow: { enabled: true }, revocation: { enabled: true } },
      jwks: { keys: [this.key.privateJwk] },
      cookies: { keys: [randomBytes(32).toString('hex')] },
      ttl: {
        IdToken: () => this.idTokenSeconds,
        AccessToken: 3600,
        RefreshToken: 8 * 3600,
        AuthorizationCode: 60,
        Grant: 8 * 3600,
        Interaction: 3600,
        Session: 8 * 3600,
      },
    });
  }

  private claims(email: string) {
    const [name, domain] = email.split('@');
    const groups = this.groups.get(email);
    return {
      sub: email, email, email_verified: !this.unverified.has(email), name, ...groups && { groups, 'cognito:groups': groups }, ...!this.consumers.has(email) && { hd: domain },
    };
  }

  protected async answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { pathname, searchParams } = new URL(request.url!, this.issuer);
    switch (true) {
      case pathname.startsWith('/interaction/'):
        return answerSignIn(this.provider, request, response);
      case pathname === '/oauth2/token': { // Cognito's endpoint for machine clients: the access token names the client and no audience
        const [id, secret] = Buffer.from(request.headers.authorization?.split(' ')[1] ?? '', 'base64').toString().split(':').map(decodeURIComponent);
        const form = new URLSearchParams(await text(request));
        if (form.get('grant_type') !== 'client_credentials' || !this.clients.machines.some(machine => machine.id === id && machine.secret === secret)) {
          response.writeHead(400, { 'content-type': 'application/json' }).end('{"error":"invalid_client"}');
          return;
        }
        this.machineTokensIssued += 1;
        const token = await this.key.sign({ iss: this.issuer, sub: id, client_id: id, token_use: 'access', scope: form.get('scope') ?? '', ...lifetime(this.machineTokenSeconds) });
        response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify({ access_token: token, token_type: 'Bearer', expires_in: this.machineTokenSeconds }));
        return;
      }
      case pathname === '/logout' && request.headers.host !== new URL(this.issuer).host: // sessions are at the issuer here
        response.writeHead(302, { location: `${new URL(this.issuer).origin}${request.url}` }).end();
        return;
      case pathname === '/logout': // Cognito's
        response.setHeader('set-cookie', ['_session', '_session.sig'].map(name => `${name}=; path=/; expires=Thu, 01 Jan 1970 00:00:00 GMT`));
        response.writeHead(302, { location: searchParams.get('logout_uri')! }).end();
        return;
      default: {
        // Removes the path of the issuer, which oidc-provider does not expect.
        const path = new URL(this.issuer).pathname;
        if (path !== '/' && pathname.startsWith(`${path}/`)) {
          Object.assign(request, { originalUrl: request.url, url: request.url!.slice(path.length) });
        }
        return this.provider.callback()(request, response);
      }
    }
  }
}

async function answerSignIn(provider: Provider, request: IncomingMessage, response: ServerResponse): Promise<void> {
  await provider.interactionDetails(request, response); // refuses requests without a begun sign-in
  const email = request.method === 'POST' ? new URLSearchParams(await text(request)).get('email') : undefined;
  if (email) {
    await provider.interactionFinished(request, response, { login: { accountId: email } });
  } else {
    response.writeHead(200, { 'content-type': 'text/html; charset=utf-8' }).end(page(request.url!));
  }
}

/** The form has an explicit action, as those of real providers do. Without it the browser would keep the fragment of the URL. */
const page = (action: string) => `<!doctype html>
<html lang="en">
<title>Sign in</title>
<style>body { font: 16px sans-serif; max-width: 24em; margin: 4em auto } input, button { font: inherit; padding: .4em }</style>
<h1>Sign in</h1>
<p>This page stands in for your sign-in provider. It accepts any address.</p>
<form method="post" action="${action}">
  <input name="email" type="email" placeholder="you@example.com" autofocus required>
  <button>Sign in</button>
</form>
</html>`;
