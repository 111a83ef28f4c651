/** An oauth2-proxy with the settings of a stack, between stand-ins for the provider and the server. Checks use it to see which accounts the settings allow. */

import type { IncomingHttpHeaders, IncomingMessage, ServerResponse } from 'node:http';
import { text } from 'node:stream/consumers';
import { setTimeout as sleep } from 'node:timers/promises';
import type { JWTPayload } from 'jose';
import { lifetime, SigningKey } from '../aws/issuer.mjs';
import { PlayedServer } from '../aws/played-server.mjs';
import { bearer, client } from '../clients/http.mjs';
import { Daemon, freePort, untilReady } from '../processes.mjs';

/** The data of a person at a provider. */
export interface Account {
  /** Claims of the ID token and of the userinfo endpoint. */
  readonly claims?: JWTPayload;
  /** Keycloak's roles, in the access token. */
  readonly roles?: string[];
  /** GitHub's organizations. */
  readonly organizations?: string[];
  /** GitHub's teams, `organization:slug`. */
  readonly teams?: string[];
  /** GitLab's projects, with the level of access. */
  readonly projects?: Record<string, number>;
}

export interface Entrance {
  readonly status: number;
  /** The headers that the server behind oauth2-proxy received, if the request reached it. */
  readonly headers?: IncomingHttpHeaders;
  /** The cookie of the session, in one or more parts. */
  readonly cookie?: string;
}

/** A stand-in for all providers that this library supports: Google, Keycloak … with OpenID Connect, GitHub and GitLab with their own APIs. */
class SignInProvider extends PlayedServer {
  private readonly key = new SigningKey('played');
  account: Account = {};
  /** The nonce of the current sign-in. */
  nonce: string | null = null;
  /** The scopes of the current sign-in. */
  scopes: string[] = [];
  /** The lifetime of its tokens in seconds. */
  tokenSeconds = 60;
  refreshed = 0;

  constructor(
    private readonly url: string, private readonly issuer: string | undefined, private readonly clientId: string,
    private readonly refreshScope: string | undefined,
  ) {
    super(url);
  }

  /** A refresh token, if the sign-in has the scope that this provider needs for one. */
  private get refreshToken() {
    return this.refreshScope === undefined || this.scopes.includes(this.refreshScope) ? { refresh_token: 'played' } : {};
  }

  token(claims: JWTPayload): Promise<string> {
    return this.key.sign({ iss: this.issuer, aud: this.clientId, sub: '1', ...lifetime(this.tokenSeconds), ...claims });
  }

  protected async answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { pathname, searchParams } = new URL(request.url!, this.url);
    const { claims = {}, roles = [], organizations = [], teams = [], projects = {} } = this.account;
    const firstPage = (items: unknown[]) => searchParams.get('page') === '1' ? items : [];
    const send = (value: unknown, status = 200) => void response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(value));
    const at = (path: string) => `${this.url}${path}`;
    switch (true) {
      case pathname.endsWith('/.well-known/openid-configuration'):
        return send({
          issuer: this.issuer,
          authorization_endpoint: at('/authorize'),
          token_endpoint: at('/token'),
          userinfo_endpoint: at('/userinfo'),
          jwks_uri: at('/jwks'),
          response_types_supported: ['code'],
          subject_types_supported: ['public'],
          id_token_signing_alg_values_supported: ['RS256'],
        });
      case pathname === '/jwks':
        return send({ keys: [this.key.publicJwk] });
      case pathname === '/token': {
        const refreshes = new URLSearchParams(await text(request)).get('grant_type') === 'refresh_token';
        this.refreshed += Number(refreshes);
        return send({
          token_type: 'Bearer',
          expires_in: this.tokenSeconds,
          access_token: await this.token({ ...claims, realm_access: { roles } }),
          ...this.refreshToken,
          id_token: await this.token({ ...claims, ...!refreshes && { nonce: this.nonce } }),
        });
      }
      case pathname === '/userinfo' || pathname === '/oauth/userinfo':
        return send({ sub: '1', ...claims });
      case pathname === '/login/oauth/access_token':
        return send({ token_type: 'bearer', access_token: 'played' });
      case pathname === '/api/v3/user/orgs':
        return send(firstPage(organizations.map(login => ({ login }))));
      case pathname === '/api/v3/user/teams':
        return send(firstPage(teams.map(team => ({ slug: team.split(':')[1], organization: { login: team.split(':')[0] } }))));
      case pathname === '/api/v3/user/emails':
        return send([{ email: claims.email, primary: true, verified: claims.email_verified }]);
      case pathname === '/api/v3/user':
        return send({ login: 'played', email: claims.email });
      case pathname === '/api/v3/' || pathname === '/api/v3':
        return send({});
      case pathname.startsWith('/api/v4/projects/'): {
        const level = projects[decodeURIComponent(pathname.slice('/api/v4/projects/'.length))];
        return level === undefined ? send({ message: '404 Project Not Found' }, 404) : send({ permissions: { project_access: { access_level: level } } });
      }
      default:
        throw new Error(`the stand-in has no path ${pathname}`);
    }
  }
}

/** Answers with the headers of the request. */
class Mirror extends PlayedServer {
  protected async answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(request.headers));
  }
}

interface SignInsOptions {
  /** The program oauth2-proxy. */
  readonly proxy: string;
  /** Its settings in the template. */
  readonly settings: Record<string, string>;
  /** The list of machines, because there is no `prepare` to write it. */
  readonly machinesFile: string;
  /** The scope with which the provider gives a refresh token. Default: it always gives one. */
  readonly refreshScope?: string;
  readonly log: string;
}

export class SignIns {
  static async start({ proxy, settings, machinesFile, refreshScope, log }: SignInsOptions): Promise<SignIns> {
    const [provider, mirror] = [`http://127.0.0.1:${await freePort()}`, `http://127.0.0.1:${await freePort()}`];
    const url = `http://127.0.0.1:${await freePort()}`;
    // The origins of the provider's URLs are replaced. Their paths stay.
    const origins = new Set(['OIDC_ISSUER_URL', 'LOGIN_URL', 'REDEEM_URL', 'VALIDATE_URL'].map(name => settings[`OAUTH2_PROXY_${name}`]).filter(Boolean).map(address => new URL(address).origin));
    const here = (value: string) => [...origins].reduce((replaced, origin) => replaced.replaceAll(origin, provider), value);
    const env = Object.fromEntries(Object.entries(settings).map(([name, value]) => [name, here(value)]));
    if (settings.OAUTH2_PROXY_PROVIDER === 'github') {
      Object.assign(env, { // github.com has no settings, because it is built in
        OAUTH2_PROXY_LOGIN_URL: `${provider}/login/oauth/authorize`, OAUTH2_PROXY_REDEEM_URL: `${provider}/login/oauth/access_token`, OAUTH2_PROXY_VALIDATE_URL: `${provider}/api/v3`,
      });
    }
    const played = new SignInProvider(provider, env.OAUTH2_PROXY_OIDC_ISSUER_URL, env.OAUTH2_PROXY_CLIENT_ID, refreshScope);
    const server = new Mirror(mirror);
    await Promise.all([played.start(), server.start()]);
    const daemon = new Daemon([proxy], {
      env: { ...env, OAUTH2_PROXY_HTTP_ADDRESS: new URL(url).host, OAUTH2_PROXY_UPSTREAMS: `${mirror}/`, OAUTH2_PROXY_AUTHENTICATED_EMAILS_FILE: machinesFile }, log,
    });
    const signIns = new SignIns(url, played, () => Promise.all([daemon.stop(5), played.stop(), server.stop()]));
    try {
      await untilReady(daemon, 'oauth2-proxy', () => fetch(`${url}/ping`));
    } catch (error) {
      await signIns.stop();
      throw error;
    }
    return signIns;
  }

  private constructor(private readonly url: string, private readonly provider: SignInProvider, private readonly end: () => Promise<unknown>) {}

  /** Signs in with a browser, as far as the settings allow this account. */
  async enter(account: Account): Promise<Entrance> {
    const { status, cookie } = await this.signIn(account);
    return cookie === undefined ? { status } : { ...await this.request({ cookie }), cookie };
  }

  /** Signs in, waits until the tokens have expired, and sends another request. */
  async stay(account: Account): Promise<{ readonly status: number; readonly refreshed: number }> {
    this.provider.tokenSeconds = 2;
    const { status: signedIn, cookie } = await this.signIn(account);
    if (cookie === undefined) {
      throw new Error(`the sign-in gave no session: ${signedIn}`);
    }
    await sleep(3100); // the proxy counts whole seconds
    const { status } = await this.request({ cookie });
    return { status, refreshed: this.provider.refreshed };
  }

  private async signIn(account: Account): Promise<{ readonly status: number; readonly cookie?: string }> {
    const send = client(this.url);
    const start = await send('/oauth2/start?rd=/');
    const { searchParams } = new URL(start.headers.location!);
    Object.assign(this.provider, { account, nonce: searchParams.get('nonce'), scopes: searchParams.get('scope')!.split(' ') });
    const back = await send(`/oauth2/callback?code=played&state=${encodeURIComponent(searchParams.get('state')!)}`, { headers: { cookie: cookies(start.headers) } });
    return { status: back.status, ...back.status === 302 && { cookie: cookies(back.headers) } };
  }

  /** Sends an ID token of the provider with these claims. */
  async show(claims: JWTPayload): Promise<Entrance> {
    return this.request(bearer(await this.provider.token(claims)));
  }

  async stop(): Promise<void> {
    await this.end();
  }

  private async request(headers: Record<string, unknown>): Promise<Entrance> {
    const { status, body } = await client(this.url)('/api/2.0/mlflow/experiments/search', { headers: headers as never });
    return { status, ...status === 200 && { headers: JSON.parse(body) } };
  }
}

function cookies(headers: IncomingHttpHeaders): string {
  return (headers['set-cookie'] ?? []).map(cookie => cookie.split(';')[0]).join('; ');
}
