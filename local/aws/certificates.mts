/** A certification authority for one run. Its key stays in memory, so nobody can use it afterwards. */

import type { IncomingMessage, ServerResponse } from 'node:http';
import { generate } from 'selfsigned';
import { LoopbackServer } from './loopback-server.mjs';
import { region } from './template.mjs';

export interface Certificates {
  /** The CA's certificate, for whoever has to trust the servers. */
  readonly ca: string;
  /** Certificate and key of every TLS server of the run: they are all `localhost`, or hosts of the internet behind a proxy of the network. */
  readonly server: { readonly cert: string; readonly key: string };
}

export async function createCertificates(hosts: string[]): Promise<Certificates> {
  const notAfterDate = new Date(Date.now() + 30 * 24 * 3600 * 1000);
  const ca = await generate([{ name: 'commonName', value: 'cdk-secure-mlflow npm run try' }], {
    algorithm: 'sha256',
    notAfterDate,
    extensions: [
      { name: 'basicConstraints', cA: true, critical: true },
      { name: 'keyUsage', keyCertSign: true, cRLSign: true, critical: true },
    ],
  });
  const server = await generate([{ name: 'commonName', value: 'localhost' }], {
    algorithm: 'sha256',
    notAfterDate,
    ca: { key: ca.private, cert: ca.cert },
    extensions: [
      { name: 'basicConstraints', cA: false },
      { name: 'keyUsage', digitalSignature: true, keyEncipherment: true },
      { name: 'extKeyUsage', serverAuth: true },
      { name: 'subjectAltName', altNames: [...['localhost', ...hosts].map(value => ({ type: 2 as const, value })), { type: 7, ip: '127.0.0.1' }] },
    ],
  });
  return { ca: ca.cert, server: { cert: server.cert, key: server.private } };
}

/** Plays the address where AWS publishes the certificates of the region's database servers. */
export class CaBundle extends LoopbackServer {
  constructor(address: string, private readonly ca: string) {
    super(address);
  }

  protected async answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const found = request.url === `/${region}/${region}-bundle.pem`;
    response.writeHead(found ? 200 : 404).end(found ? this.ca : '');
  }
}
