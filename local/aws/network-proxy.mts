/** Plays a proxy of the company's network: it connects (method CONNECT) to the hosts that it knows, notes each that it is asked for, and refuses others. */

import type { IncomingMessage, ServerResponse } from 'node:http';
import https from 'node:https';
import { connect, type AddressInfo, type Socket } from 'node:net';
import { createProxyServer } from 'http-proxy-3';
import type { Certificates } from './certificates.mjs';
import { LoopbackServer } from './loopback-server.mjs';

export class NetworkProxy extends LoopbackServer {
  /** Host and port of each request, in turn. */
  readonly asked: string[] = [];
  private readonly hosts = new Map<string, https.Server>();

  /** What stands for each host of the internet, which it has by TLS. */
  constructor(address: string, standIns: Record<string, string>, certificates: Certificates) {
    super(address);
    for (const [host, target] of Object.entries(standIns)) {
      const proxy = createProxyServer({ target });
      this.hosts.set(`${host}:443`, https.createServer(certificates.server, (request, response) => proxy.web(request, response)));
    }
    this.server.on('connect', (request: IncomingMessage, socket: Socket) => {
      const host = request.url!;
      this.asked.push(host);
      const port = (this.hosts.get(host)?.address() as AddressInfo | undefined)?.port;
      if (port === undefined) {
        socket.end('HTTP/1.1 403 Forbidden\r\n\r\n');
        return;
      }
      const there = connect(port, '127.0.0.1', () => {
        socket.write('HTTP/1.1 200 Connection established\r\n\r\n');
        there.pipe(socket).pipe(there);
      });
      [socket, there].forEach(end => end.on('error', () => [socket, there].forEach(other => other.destroy())));
    });
  }

  async start(): Promise<void> {
    await Promise.all([super.start(), ...[...this.hosts.values()].map(server => new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve)))]);
  }

  stop(): void {
    super.stop();
    for (const server of this.hosts.values()) {
      server.close();
      server.closeAllConnections();
    }
  }

  /** Of plain HTTP, with the whole address. */
  protected async answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    this.asked.push(request.url!);
    response.writeHead(403).end();
  }
}
