/** Shared by the attacks on the sign-in: the attacked deployment, the tokens, and what counts as success. */

import assert from 'node:assert/strict';
import type { OutgoingHttpHeaders } from 'node:http';
import type { JWTPayload } from 'jose';
import { lifetime } from '../../aws/issuer.mjs';
import { bearer, type Message, type Send } from '../../clients/http.mjs';
import type { Deployment } from '../../deployment.mjs';
import { search } from '../api.mjs';
import type { Checks } from '../checks.mjs';

export type Settings = Record<string, string | undefined>;
/** Whether the attack has succeeded. */
export type SignInAttempt = (send: Send) => Promise<boolean>;

const withoutDefence = 'succeeds without its defence';

export class SignInSuite {
  constructor(
    readonly checks: Checks,
    readonly deployment: Deployment,
    /** Sends to the load balancer of the deployment. */
    readonly send: Send,
    private readonly bareServer: string,
  ) {}

  /** Fails if the attempt succeeds on the real deployment, or fails where its defence is missing. */
  async attack(title: string, attempt: SignInAttempt, without?: Settings): Promise<void> {
    await this.checks.check(title, async () => {
      assert(!await attempt(this.send), 'the attack succeeded');
      if (without === undefined) {
        return undefined;
      }
      const weakly = await this.withProxy(without, attempt);
      assert(weakly, `the attack also fails without its defence, so this check proves nothing: ${JSON.stringify(without)}`);
      return withoutDefence;
    });
  }

  /** Spellings of one attack. Several must succeed where the defence is missing. The others always fail. */
  async spellings(
    all: string[], title: (spelling: string) => string, attempt: (spelling: string) => SignInAttempt, without: Settings,
  ): Promise<void> {
    let getIn = 0;
    await this.withProxy(without, async weak => {
      for (const spelling of all) {
        await this.checks.check(title(spelling), async () => {
          assert(!await attempt(spelling)(this.send), 'the attack succeeded');
          const weakly = await attempt(spelling)(weak);
          getIn += weakly ? 1 : 0;
          return weakly ? withoutDefence : 'also fails without its defence';
        });
      }
    });
    await this.checks.check('(several of these succeed without their defence)', async () => assert(getIn >= 2, String(getIn)));
  }

  /** Another proxy, in front of an MLflow without the inner door. Only this proxy closes the assistant. */
  async withProxy<T>(changes: Settings, use: (send: Send) => Promise<T>): Promise<T> {
    const upstreams = changes.OAUTH2_PROXY_UPSTREAMS?.split(',') ?? this.upstreams;
    return this.deployment.withProxy({ ...changes, OAUTH2_PROXY_UPSTREAMS: [`${this.bareServer}/`, ...upstreams.slice(1)].join(',') }, use);
  }

  /** MLflow, then paths that the proxy answers itself. */
  get upstreams(): string[] {
    return this.deployment.proxy.env.OAUTH2_PROXY_UPSTREAMS.split(',');
  }

  opens(headers: OutgoingHttpHeaders): SignInAttempt {
    return send => reaches(send, search, { headers });
  }

  /** The claims of a good token of the sign-in provider, with changes. */
  claims(changes: JWTPayload = {}): JWTPayload {
    const { issuer: { issuer }, clients } = this.deployment;
    return { iss: issuer, aud: clients.proxy.id, sub: '1', email: 'someone@example.com', email_verified: true, ...lifetime(60), ...changes };
  }

  token(changes: JWTPayload): SignInAttempt {
    return async send => this.opens(bearer(await this.deployment.issuer.key.sign(this.claims(changes))))(send);
  }

  roleToken(change: (role: string) => string, audience = this.deployment.url, more: JWTPayload = {}): SignInAttempt {
    const account = this.deployment.account!;
    const claims = { iss: account.issuer, sub: change(this.listedRole), aud: audience, ...more };
    return async send => this.opens(bearer(await account.key.sign({ ...claims, ...lifetime(60) })))(send);
  }

  get listedRole(): string {
    return this.deployment.machineIdentities.find(identity => identity.includes(':role/'))!;
  }
}

/** Whether the answer is from MLflow, and not a refusal, a redirect or a page of the proxy. */
export async function reaches(send: Send, path: string, message: Message = {}): Promise<boolean> {
  const { status, headers } = await send(path, message);
  return status >= 200 && status < 300 && !String(headers.location ?? '').includes('/oauth2/');
}
