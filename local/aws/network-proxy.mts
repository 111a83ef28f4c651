/** A stand-in for a proxy of the company's network. It connects (method CONNECT) to known hosts, records each requested host, and refuses others. */

import type { IncomingMessage, ServerResponse } from 'node:http';
import https from 'node:https';
import { connect, type AddressInfo, type Socket } from 'node:net';
import { createProxyServer } from 'http-proxy-3';
import type { Certificate } from './certificates.mjs';
import { PlayedServer } from './played-server.mjs';
import type { Site } from '../worlds/world.mjs';

export class NetworkProxy extends PlayedServer {
  /** Host and port of each request, in order. */
  readonly asked: string[] = [];
  /** The address here of each known host. */
  private readonly hosts = new Map<string, () => { readonly host: string; readonly port: number }>();
  private readonly tlsServers: https.Server[] = [];

  /** `internet` are sites that its clients reach with TLS. Stand-ins without TLS get it here. */
  constructor(site: Site, internet: readonly Site[], certificate: Certificate) {
    super([site]);
    for (const { aws, here, listen } of internet) {
      this.hosts.set(`${new URL(aws).hostname}:443`, here.startsWith('https:') ? () => listen : this.withTls(here, certificate));
    }
    this.servers[0].server.on('connect', (request: IncomingMessage, socket: Socket) => {
      const host = request.url!;
      this.asked.push(host);
      const found = this.hosts.get(host);
      if (found === undefined) {
        socket.end('HTTP/1.1 403 Forbidden\r\n\r\n');
        return;
      }
      const there = connect(found(), () => {
        socket.write('HTTP/1.1 200 Connection established\r\n\r\n');
        there.pipe(socket).pipe(there);
      });
      [socket, there].forEach(end => end.on('error', () => [socket, there].forEach(other => other.destroy())));
    });
  }

  private withTls(target: string, certificate: Certificate) {
    const proxy = createProxyServer({ target });
    const server = https.createServer(certificate, (request, response) => proxy.web(request, response));
    this.tlsServers.push(server);
    return () => ({ host: '127.0.0.1', port: (server.address() as AddressInfo).port });
  }

  async start(): Promise<void> {
    await Promise.all([super.start(), ...this.tlsServers.map(server => new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve)))]);
  }

  stop(): void {
    super.stop();
    for (const server of this.tlsServers) {
      server.close();
      server.closeAllConnections();
    }
  }

  /** Refuses plain HTTP requests, which have the whole URL. */
  protected async answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    this.asked.push(request.url!);
    response.writeHead(403).end();
  }
}
