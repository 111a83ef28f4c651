/** Requests of an attacker who knows the URL of a server and has seen a good bearer token. They are also sent to deployed servers. */

import { createHmac } from 'node:crypto';
import type { OutgoingHttpHeaders } from 'node:http';
import { decodeJwt, decodeProtectedHeader, type JWTPayload } from 'jose';
import { SigningKey } from '../../aws/issuer.mjs';
import { search } from '../api.mjs';

/** Calls of programs. Without a bearer token they are rejected with 401 and not redirected to the sign-in provider. */
export const calls = [search, '/ajax-api/2.0/mlflow/experiments/search?max_results=1', '/graphql', '/v1/traces', '/gateway/x/invocations'];

/** Pages, which lead to the sign-in provider. */
export const pages = ['/get-artifact', '/model-versions/get-artifact', '/version', '/health'];

/** Other spellings of closed paths, and paths that MLflow answers in addition to its API. */
export const paths = [
  `/${search}`, `/.${search}`, search.replace('/api', '/%61pi'), `/api/..${search}`, `/ping/..${search}`, `/ping/%2e%2e${search}`, `/oauth2/..${search}`, `/oauth2/static/..${search}`, search.replace('/api', '/API'),
  search.replace('/2.0', ';x/2.0'), search.replace('/2.0/', '/2.0%2f'), '/get-artifact?path=x&run_uuid=x', '/model-versions/get-artifact?path=x&name=x&version=1', '/static-files/../api/2.0/mlflow/experiments/search',
  '/health', '/version', '/metrics', '/graphql', '/v1/traces', '/gateway/discovery/endpoints', '/docs', '/openapi.json',
];

export const headers = {
  'the name of the signed-in person': {
    'x-forwarded-user': 'someone@example.com',
    'x-forwarded-email': 'someone@example.com',
    'x-forwarded-preferred-username': 'someone',
    'x-forwarded-groups': 'admins',
    'x-auth-request-user': 'someone@example.com',
    'x-auth-request-email': 'someone@example.com',
    'x-forwarded-access-token': 'x',
  },
  'another path that needs no sign-in': {
    'x-forwarded-uri': '/ping', 'x-original-url': '/ping', 'x-original-uri': '/ping', 'x-rewrite-url': '/ping', 'x-forwarded-path': '/ping',
  },
  'a trusted client address': { 'x-real-ip': '127.0.0.1', 'x-forwarded-for': '127.0.0.1', 'x-client-ip': '127.0.0.1', 'forwarded': 'for=127.0.0.1;host=127.0.0.1:5000' },
  'the user agent of a health check': { 'user-agent': 'GoogleHC/1.0' },
} satisfies Record<string, OutgoingHttpHeaders>;

/** Variants of a good token with a wrong signature, each with its flaw. */
export async function forgedTokens(good: string, publicKey?: string): Promise<[flaw: string, token: string][]> {
  const claims = decodeJwt(good);
  const { kid = '' } = decodeProtectedHeader(good);
  const [head, , signature] = good.split('.');
  const stranger = new SigningKey(kid);
  return [
    ['signed with another key under the same kid', await stranger.sign(claims)],
    ['whose header brings its own key', await stranger.sign(claims, { kid: 'mine', jwk: stranger.publicJwk as never })],
    ['whose kid is a path', await stranger.sign(claims, { kid: '../../../dev/null' })],
    ['with alg none', `${encode({ alg: 'none', typ: 'JWT' }, claims)}.`],
    ['with alg none and an old signature', `${encode({ alg: 'none', typ: 'JWT' }, claims)}.${signature}`],
    ['changed after signing', `${head}.${encode({ ...claims, exp: claims.exp! + 1 })}.${signature}`],
    ...publicKey === undefined ? [] : [hmac(kid, claims, publicKey)],
  ];
}

function hmac(kid: string, claims: JWTPayload, publicKey: string): [string, string] {
  const signed = encode({ alg: 'HS256', kid, typ: 'JWT' }, claims);
  return ['with HS256, signed with the public key', `${signed}.${createHmac('sha256', publicKey).update(signed).digest('base64url')}`];
}

function encode(...parts: object[]): string {
  return parts.map(part => Buffer.from(JSON.stringify(part)).toString('base64url')).join('.');
}
