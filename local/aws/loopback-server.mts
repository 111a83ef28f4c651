/** An HTTP server that plays something of the internet: at an address of 127.0.0.1 that is known before it starts. It may stop and start again. */

import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';

export abstract class LoopbackServer {
  protected readonly server: Server;

  constructor(private readonly address: string) {
    this.server = createServer({ maxHeaderSize: 64 * 1024 }, (request, response) => {
      this.answer(request, response).catch((error: Error) => this.refuse(response, error.message));
    });
  }

  async start(): Promise<void> {
    await new Promise<void>(resolve => this.server.listen(Number(new URL(this.address).port), '127.0.0.1', resolve));
  }

  stop(): void {
    this.server.close();
    this.server.closeAllConnections();
  }

  protected abstract answer(request: IncomingMessage, response: ServerResponse): Promise<void>;

  /** What is answered where `answer` throws. */
  protected refuse(response: ServerResponse, reason: string): void {
    response.writeHead(500).end(reason);
  }
}
