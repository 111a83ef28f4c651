/** An HTTP server for a stand-in, with TLS if its URL has it. It may stop and start again. */

import http, { type IncomingMessage, type ServerResponse } from 'node:http';
import https from 'node:https';
import type { Certificate } from './certificates.mjs';
import type { Site } from '../worlds/world.mjs';

type Listen = (server: http.Server, port: number, host: string) => Promise<void>;

const listenHere: Listen = (server, port, host) => new Promise(resolve => { server.listen(port, host, resolve); });

export abstract class PlayedServer {
  protected readonly servers: { readonly server: http.Server; readonly host: string; readonly port: number }[];

  /** `sites` are the sites where it listens, or a URL on the loopback. */
  constructor(sites: readonly Site[] | string, certificate?: Certificate) {
    const places = typeof sites === 'string' ? [{ here: sites, listen: { host: '127.0.0.1', port: Number(new URL(sites).port) } }] : sites;
    const options = { maxHeaderSize: 64 * 1024 };
    const handler = (request: IncomingMessage, response: ServerResponse) => {
      this.answer(request, response).catch((error: Error) => this.refuse(response, error.message));
    };
    this.servers = places.map(({ here, listen }) => ({
      server: here.startsWith('https:') ? https.createServer({ ...options, ...certificate }, handler) : http.createServer(options, handler), ...listen,
    }));
  }

  async start(listen: Listen = listenHere): Promise<void> {
    await Promise.all(this.servers.map(({ server, port, host }) => listen(server, port, host)));
  }

  stop(): void {
    for (const { server } of this.servers) {
      server.close();
      server.closeAllConnections();
    }
  }

  protected abstract answer(request: IncomingMessage, response: ServerResponse): Promise<void>;

  /** Answers if `answer` throws. */
  protected refuse(response: ServerResponse, reason: string): void {
    response.writeHead(500).end(reason);
  }
}
