/** Plays the OpenID provider. Its sign-in page believes any address. */

import { generateKeyPairSync, randomBytes } from 'node:crypto';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { text } from 'node:stream/consumers';
import { interactionPolicy, Provider } from 'oidc-provider';

/** Where the log-in of command-line tools returns to; nothing listens there, the caller reads the code off the redirect. */
export const toolRedirectUri = 'http://127.0.0.1/signed-in';

export interface Clients {
  readonly proxy: { readonly id: string; readonly secret: string; readonly redirectUri: string };
  /** The public client of people's command-line tools. */
  readonly toolId: string;
}

export class IdentityProvider {
  readonly issuer: string;
  private readonly server: Server;

  constructor(private readonly port: number, clients: Clients) {
    this.issuer = `http://127.0.0.1:${port}`;
    const policy = interactionPolicy.base();
    policy.get('consent')!.checks.remove('native_client_prompt'); // nobody is asked for consent
    const provider = new Provider(this.issuer, {
      clients: [
        { client_id: clients.proxy.id, client_secret: clients.proxy.secret, redirect_uris: [clients.proxy.redirectUri] },
        { client_id: clients.toolId, application_type: 'native', token_endpoint_auth_method: 'none', redirect_uris: [toolRedirectUri] },
      ],
      claims: { openid: ['sub'], email: ['email', 'email_verified'], profile: ['name'] },
      conformIdTokenClaims: false, // the address belongs into the ID token, where Google puts it too
      findAccount: (_, email) => ({ accountId: email, claims: () => ({ sub: email, email, email_verified: true, name: email.split('@')[0] }) }),
      async loadExistingGrant(context) { // consent to everything
        const grant = new context.oidc.provider.Grant({ clientId: context.oidc.client!.clientId, accountId: context.oidc.session!.accountId });
        grant.addOIDCScope('openid email profile');
        await grant.save();
        return grant;
      },
      interactions: { policy, url: (_, interaction) => `/interaction/${interaction.uid}` },
      features: { devInteractions: { enabled: false } },
      jwks: { keys: [{ ...generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey.export({ format: 'jwk' }), alg: 'RS256', use: 'sig', kid: 'try' }] },
      cookies: { keys: [randomBytes(32).toString('hex')] },
      ttl: { IdToken: 8 * 3600, AccessToken: 3600, AuthorizationCode: 60, Grant: 8 * 3600, Interaction: 3600, Session: 8 * 3600 },
    });
    const callback = provider.callback();
    this.server = createServer((request, response) => {
      const answer = request.url!.startsWith('/interaction/') ? signIn(provider, request, response) : callback(request, response);
      answer.catch((error: Error) => response.writeHead(500).end(error.message));
    });
  }

  async start(): Promise<void> {
    await new Promise<void>(resolve => this.server.listen(this.port, '127.0.0.1', resolve));
  }

  stop(): void {
    this.server.close();
    this.server.closeAllConnections();
  }
}

async function signIn(provider: Provider, request: IncomingMessage, response: ServerResponse): Promise<void> {
  await provider.interactionDetails(request, response); // refuses who was not sent here
  const email = request.method === 'POST' ? new URLSearchParams(await text(request)).get('email') : undefined;
  if (email) {
    await provider.interactionFinished(request, response, { login: { accountId: email } });
  } else {
    response.writeHead(200, { 'content-type': 'text/html; charset=utf-8' }).end(page);
  }
}

const page = `<!doctype html>
<html lang="en">
<title>Sign in</title>
<style>body { font: 16px sans-serif; max-width: 24em; margin: 4em auto } input, button { font: inherit; padding: .4em }</style>
<h1>Sign in</h1>
<p>This page plays your OpenID provider. It believes any address.</p>
<form method="post">
  <input name="email" type="email" placeholder="you@example.com" autofocus required>
  <button>Sign in</button>
</form>
</html>`;
