/** Signs tokens: the key of an issuer, its discovery document and, for the issuer of an AWS account, the STS call that issues them. */

import { generateKeyPairSync, type KeyObject } from 'node:crypto';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { text } from 'node:stream/consumers';
import { SignJWT, type JWTHeaderParameters, type JWTPayload } from 'jose';
import type { Certificate } from './certificates.mjs';
import { PlayedServer } from './played-server.mjs';
import type { Roles } from './roles.mjs';
import type { Site } from '../worlds/world.mjs';

export class SigningKey {
  readonly privateKey: KeyObject;
  readonly publicKey: KeyObject;

  constructor(readonly kid: string) {
    ({ privateKey: this.privateKey, publicKey: this.publicKey } = generateKeyPairSync('rsa', { modulusLength: 2048 }));
  }

  get publicJwk() {
    return { ...this.publicKey.export({ format: 'jwk' }), alg: 'RS256', use: 'sig', kid: this.kid };
  }

  get privateJwk() {
    return { ...this.privateKey.export({ format: 'jwk' }), alg: 'RS256', use: 'sig', kid: this.kid };
  }

  /** Signs a token with only these claims, without checks. */
  sign(claims: JWTPayload, header: Partial<JWTHeaderParameters> = {}): Promise<string> {
    return new SignJWT(claims).setProtectedHeader({ alg: 'RS256', kid: this.kid, typ: 'JWT', ...header }).sign(this.privateKey);
  }
}

/** Claims of a token that is valid from now. */
export function lifetime(seconds: number): JWTPayload {
  const now = Math.floor(Date.now() / 1000);
  return { iat: now, exp: now + seconds };
}

/** A stand-in for the issuer of an AWS account and its regional STS, at one address. */
export class AccountIssuer extends PlayedServer {
  readonly key = new SigningKey('account');
  /** The minimum of STS is a minute. It can be shorter here, so that a check sees renewals. */
  tokenSeconds = 3600;
  tokensIssued = 0;

  readonly issuer: string;

  constructor(site: Site, private readonly roles: Roles, sts: readonly Site[], certificate: Certificate) {
    super([site, ...sts], certificate);
    this.issuer = site.here;
  }

  protected refuse(response: ServerResponse, reason: string): void {
    response.writeHead(403, { 'content-type': 'text/xml' })
      .end(`<ErrorResponse><Error><Type>Sender</Type><Code>AccessDenied</Code><Message>${reason}</Message></Error></ErrorResponse>`);
  }

  protected async answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { roles } = this;
    switch (request.url) {
      case '/.well-known/openid-configuration':
        return sendJson(response, {
          issuer: this.issuer, jwks_uri: `${this.issuer}/.well-known/jwks.json`, response_types_supported: ['id_token'], subject_types_supported: ['public'], id_token_signing_alg_values_supported: ['RS256'],
        });
      case '/.well-known/jwks.json':
        return sendJson(response, { keys: [this.key.publicJwk] });
      default: {
        // The access key names the role. Its signature is not checked here.
        const [, role] = /Credential=([^/]+)\//.exec(request.headers.authorization ?? '') ?? [];
        const parameters = new URLSearchParams(await text(request));
        const audiences = [...parameters].filter(([name]) => name.startsWith('Audience.member.')).map(([, value]) => value);
        roles.authorize(role, `sts:${parameters.get('Action')}`, {
          'sts:IdentityTokenAudience': audiences,
          'sts:DurationSeconds': parameters.get('DurationSeconds') ?? '300',
          'sts:SigningAlgorithm': parameters.get('SigningAlgorithm') ?? undefined,
          'sts:SubjectMode': parameters.get('SubjectMode') ?? undefined,
        });
        this.tokensIssued += 1;
        const audience = audiences.length === 1 ? audiences[0] : audiences;
        const claims = { iss: this.issuer, sub: roles.arn(role), aud: audience, ...lifetime(this.tokenSeconds) };
        response.writeHead(200, { 'content-type': 'text/xml' }).end(`<GetWebIdentityTokenResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><GetWebIdentityTokenResult>
          <WebIdentityToken>${await this.key.sign(claims)}</WebIdentityToken><Expiration>${new Date(claims.exp! * 1000).toISOString()}</Expiration>
        </GetWebIdentityTokenResult></GetWebIdentityTokenResponse>`);
      }
    }
  }
}

function sendJson(response: ServerResponse, value: unknown): void {
  response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(value));
}
