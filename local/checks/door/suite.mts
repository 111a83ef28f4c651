/** Shared by the attacks behind the door: the attacked servers, the attacker, and what counts as success. */

import assert from 'node:assert/strict';
import { generateKeyPairSync, randomUUID } from 'node:crypto';
import type { OutgoingHttpHeaders } from 'node:http';
import { json, withToken, type Message, type Send } from '../../clients/http.mjs';
import { sessionCookie } from '../../clients/person.mjs';
import { personToken } from '../../clients/tokens.mjs';
import type { Deployment } from '../../deployment.mjs';
import type { AiProvider, Arrival } from '../../providers/ai-provider.mjs';
import type { Checks } from '../checks.mjs';

/** MLflow, behind the proxy. */
interface Server {
  readonly url: string;
  readonly send: Send;
  readonly pid: number;
  /** The host in its requests, if it is not that of `url`. */
  readonly host?: string;
}

/** A server to attack. */
export interface Side {
  /** The URL of MLflow's page. */
  readonly url: string;
  readonly send: Send;
  readonly server: Server;
}

export interface Sides {
  /** The task of the deployment. */
  readonly real: Side;
  /** A server with the AI gateway on and one allowed private provider. */
  readonly open: Side;
  /** The same server without the inner door. */
  readonly weak: Side;
}

/** Returns what the attempt has achieved, as a text for the output; undefined if it failed. */
export type DoorAttempt = (side: Side) => Promise<string | undefined>;

/** A person who attacks or is attacked. */
export interface Member {
  readonly address: string;
  readonly token: string;
  /** The cookie of a browser's session. */
  readonly cookie: string;
}

/** The server refused a step of the attempt, so the attempt has failed. */
class Refused extends Error {}

const succeeds = 'succeeds without the inner door';

export class DoorSuite {
  static async create(checks: Checks, deployment: Deployment, sides: Sides, provider: AiProvider, inner: AiProvider): Promise<DoorSuite> {
    return new DoorSuite(checks, deployment, sides, provider, inner, await memberOf(deployment, 'victim-4711@example.com'));
  }

  private constructor(
    readonly checks: Checks,
    readonly deployment: Deployment,
    readonly sides: Sides,
    /** An AI provider that the deployment allows. */
    readonly provider: AiProvider,
    /** A private server that the deployment does not allow. */
    readonly inner: AiProvider,
    readonly member: Member,
  ) {}

  /** Fails if the attempt succeeds, or if it fails where the inner door is missing. */
  async attack(title: string, attempt: DoorAttempt, side = this.sides.open): Promise<void> {
    await this.checks.check(title, async () => {
      assert(await got(attempt, this.sides.weak) !== undefined, 'the attack also fails without the inner door, so this check proves nothing');
      await this.assertFails(attempt, side);
      return succeeds;
    });
  }

  /** Variants of one attack. Several must succeed where the inner door is missing. The others always fail. */
  async variants<Variant>(
    all: readonly Variant[], title: (variant: Variant) => string, attempt: (variant: Variant) => DoorAttempt, side = this.sides.open,
  ): Promise<void> {
    let succeeding = 0;
    for (const variant of all) {
      await this.checks.check(title(variant), async () => {
        const weakly = await got(attempt(variant), this.sides.weak) !== undefined;
        succeeding += weakly ? 1 : 0;
        await this.assertFails(attempt(variant), side);
        return weakly ? succeeds : 'also fails without the inner door';
      });
    }
    await this.checks.check('(several of these succeed without the inner door)', async () => assert(succeeding >= 2, String(succeeding)));
  }

  /** Sends a request as a program of the member. */
  async call(side: Side, path: string, message: Message = {}): Promise<{ readonly status: number; readonly body: string }> {
    return side.send(path, withToken(this.member.token, message));
  }

  /** Sends a request directly to MLflow, with the headers that the proxy would add for the member. */
  async callBehindTheProxy(side: Side, path: string, message: Message = {}): Promise<{ readonly status: number; readonly body: string }> {
    return side.server.send(path, { ...message, headers: { ...message.headers, 'x-forwarded-email': this.member.address } });
  }

  /** A call that must succeed before the attack begins. If it fails, the attempt has failed. */
  async need<Value>(side: Side, path: string, message?: Message): Promise<Value> {
    const { status, body } = await this.call(side, path, message);
    if (status !== 200) {
      throw new Refused(`${path} answers ${status}: ${body.slice(0, 300)}`);
    }
    return JSON.parse(body) as Value;
  }

  /** The requests that a call caused at the provider, or at another stand-in. */
  async arrivals(call: () => Promise<unknown>, at = this.provider): Promise<Arrival[]> {
    const before = at.arrivals.length;
    await call();
    return at.arrivals.slice(before);
  }

  /** Creates an endpoint of the AI gateway, including its key. Returns its name. */
  async endpoint(side: Side, { provider, secret = { api_key: 'sk-of-the-owner' }, config = {}, model = 'played' }: {
    readonly provider: string; readonly secret?: Record<string, string>; readonly config?: Record<string, string>; readonly model?: string;
  }): Promise<string> {
    const stored = await this.secret(side, provider, secret, config);
    return this.endpointOf(side, stored, provider, model);
  }

  async secret(side: Side, provider: string, secret: Record<string, string>, config: Record<string, string>): Promise<string> {
    const stored = await this.need<{ secret: { secret_id: string } }>(side, `${gateway}/secrets/create`, json({
      secret_name: unique(), secret_value: secret, provider, auth_config: config,
    }));
    return stored.secret.secret_id;
  }

  async endpointOf(side: Side, secretId: string, provider: string, model = 'played'): Promise<string> {
    const defined = await this.need<{ model_definition: { model_definition_id: string } }>(side, `${gateway}/model-definitions/create`, json({
      name: unique(), secret_id: secretId, provider, model_name: model,
    }));
    const name = unique();
    await this.need(side, `${gateway}/endpoints/create`, json({
      name, model_configs: [{ model_definition_id: defined.model_definition.model_definition_id, linkage_type: 'PRIMARY', weight: 1 }],
    }));
    return name;
  }

  /** Calls an endpoint with a chat. */
  async chat(side: Side, endpoint: string, options: { readonly stream?: boolean } = {}): Promise<{ readonly status: number; readonly body: string }> {
    return this.call(side, `/gateway/${endpoint}/mlflow/invocations`, json({ messages: [{ role: 'user', content: 'hello' }], ...options }));
  }

  session(message: Message = {}): Message {
    return { ...message, headers: { ...message.headers, cookie: this.member.cookie } };
  }

  private async assertFails(attempt: DoorAttempt, side: Side): Promise<void> {
    const found = await got(attempt, side);
    assert(found === undefined, `the attack succeeded: ${found}`);
  }
}

export const gateway = '/api/3.0/mlflow/gateway';
export const webhooks = '/api/2.0/mlflow/webhooks';

export function unique(): string {
  return `played-${randomUUID()}`;
}

async function got(attempt: DoorAttempt, side: Side): Promise<string | undefined> {
  try {
    return await attempt(side);
  } catch (error) {
    if (error instanceof Refused) {
      return undefined;
    }
    throw error;
  }
}

/** A person with a session and a bearer token. */
export async function memberOf(deployment: Deployment, address: string): Promise<Member> {
  return {
    address,
    token: await personToken(deployment.issuer.issuer, deployment.clients, address),
    cookie: await sessionCookie(deployment.url, address),
  };
}

/** The key of a Google service account, which contains the URL for access tokens. */
export function serviceAccount(tokenUri: string): string {
  const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048, publicKeyEncoding: { type: 'spki', format: 'pem' }, privateKeyEncoding: { type: 'pkcs8', format: 'pem' } });
  return JSON.stringify({
    type: 'service_account', project_id: 'played', private_key_id: '1', private_key: privateKey, client_email: 'played@played.iam.gserviceaccount.example', client_id: '1', token_uri: tokenUri,
  });
}

export function headersOf({ headers }: Arrival): OutgoingHttpHeaders {
  return Object.fromEntries(headers.flatMap((name, index) => index % 2 === 0 ? [[name.toLowerCase(), headers[index + 1]]] : []));
}
