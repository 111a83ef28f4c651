/** A certification authority for one run. Its key is only in memory, so it cannot be used afterwards. */

import type { IncomingMessage, ServerResponse } from 'node:http';
import { isIP } from 'node:net';
import { generate } from 'selfsigned';
import { PlayedServer } from './played-server.mjs';
import type { Site } from '../worlds/world.mjs';

/** Certificate and key of a TLS server. */
export interface Certificate { readonly cert: string; readonly key: string }

const notAfterDate = new Date(Date.now() + 30 * 24 * 3600 * 1000);

interface Authority { readonly cert: string; readonly private: string }

/** The environment variable in which a process receives the authority of another process. */
export const authorityVariable = 'SECURE_MLFLOW_AUTHORITY';
export const { [authorityVariable]: handedOver } = process.env;
delete process.env[authorityVariable]; // programs started from here must not have it

/** The authority. Clients of the servers must trust its certificate. */
export const authority: Authority = handedOver !== undefined ? JSON.parse(handedOver) as Authority : await generate([{ name: 'commonName', value: 'cdk-secure-mlflow npm run try' }], {
  algorithm: 'sha256',
  notAfterDate,
  extensions: [
    { name: 'basicConstraints', cA: true, critical: true },
    { name: 'keyUsage', keyCertSign: true, cRLSign: true, critical: true },
  ],
});

/** One certificate for all TLS servers of a deployment: for `localhost`, and for the hosts that they stand in for. */
export async function createCertificate(hosts: Iterable<string>): Promise<Certificate> {
  const { cert, private: key } = await generate([{ name: 'commonName', value: 'localhost' }], {
    algorithm: 'sha256',
    notAfterDate,
    ca: { key: authority.private, cert: authority.cert },
    extensions: [
      { name: 'basicConstraints', cA: false },
      { name: 'keyUsage', digitalSignature: true, keyEncipherment: true },
      { name: 'extKeyUsage', serverAuth: true },
      { name: 'subjectAltName', altNames: [...new Set(['localhost', '127.0.0.1', ...hosts])].map(host => isIP(host) ? { type: 7 as const, ip: host } : { type: 2 as const, value: host }) },
    ],
  });
  return { cert, key };
}

/** A stand-in for the server where AWS publishes the certificates of the region's database servers. */
export class CaBundle extends PlayedServer {
  constructor(sites: readonly Site[], private readonly region: string, certificate: Certificate) {
    super(sites, certificate);
  }

  protected async answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const found = request.url === `/${this.region}/${this.region}-bundle.pem`;
    response.writeHead(found ? 200 : 404).end(found ? authority.cert : '');
  }
}
