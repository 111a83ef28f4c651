/** A stand-in for AI providers: it answers in the formats of several, records all requests, and can redirect or not answer. */

import type { IncomingMessage, ServerResponse } from 'node:http';
import { text } from 'node:stream/consumers';
import type { Certificate } from '../aws/certificates.mjs';
import { PlayedServer } from '../aws/played-server.mjs';
import type { Site } from '../worlds/world.mjs';

/** A received request. */
export interface Arrival {
  readonly method: string;
  readonly path: string;
  /** Names and values in turn, with the original order and spelling. */
  readonly headers: string[];
  readonly body: string;
}

/** The text of every answer. */
export const spoken = 'the provider answers';

export class AiProvider extends PlayedServer {
  readonly arrivals: Arrival[] = [];
  /** The number of connections, including those without a request. */
  connections = 0;
  private holding = false;
  private readonly held = new Set<ServerResponse>();

  readonly url: string;

  /** Listens at a site, or at a URL on the loopback. */
  constructor(site: Site | string, certificate?: Certificate) {
    super(typeof site === 'string' ? site : [site], certificate);
    this.url = typeof site === 'string' ? site : site.here;
    this.servers[0].server.on('connection', () => { this.connections += 1; });
  }

  /** A URL that redirects to another one. */
  redirect(target: string, status = 302): string {
    return `${this.url}/redirect/${status}/${encodeURIComponent(target)}`;
  }

  /** A URL that names another one as its token endpoint, as discovery documents of OAuth do. */
  discovery(tokenEndpoint: string): string {
    return `${this.url}/discovery/${encodeURIComponent(tokenEndpoint)}`;
  }

  /** A URL that does not answer before `release`. */
  get silent(): string {
    return `${this.url}/silent`;
  }

  hold(): void {
    this.holding = true;
  }

  /** Ends the requests without an answer. Later requests get an answer. */
  release(): void {
    this.holding = false;
    this.held.forEach(response => response.destroy());
    this.held.clear();
  }

  stop(): void {
    this.release();
    super.stop();
  }

  protected async answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { method, url: path, rawHeaders: headers } = request;
    const body = await text(request);
    this.arrivals.push({ method: method!, path: path!, headers, body });
    const [, behaviour, ...values] = path!.split('?')[0].split('/');
    if (behaviour === 'silent' && this.holding) {
      this.held.add(response);
      return;
    }
    switch (behaviour) {
      case 'redirect':
        response.writeHead(Number(values[0]), { location: decodeURIComponent(values[1]) }).end();
        return;
      case 'discovery': {
        const named = decodeURIComponent(values[0]);
        sendJson(response, { oidc_endpoint: this.discovery(named), authorization_endpoint: named, token_endpoint: named });
        return;
      }
      default:
        converse(path!.split('?')[0], body, response);
    }
  }
}

function converse(path: string, body: string, response: ServerResponse): void {
  const { model = 'played', stream = false } = parse(body);
  const message = { role: 'assistant', content: spoken };
  const openAiUsage = { prompt_tokens: 1, completion_tokens: 1, total_tokens: 2 };
  const messagesUsage = { input_tokens: 1, output_tokens: 1 };
  const chat = { id: 'chat-1', created: 1, model };
  switch (true) {
    case path.endsWith('/token'):
      return sendJson(response, { access_token: 'the-token-of-the-provider', token_type: 'Bearer', expires_in: 3600 });
    case path.endsWith('/chat/completions'):
      return stream
        ? sendEvents(response, [{ ...chat, object: 'chat.completion.chunk', choices: [{ index: 0, delta: message, finish_reason: 'stop' }] }, '[DONE]'])
        : sendJson(response, { ...chat, object: 'chat.completion', choices: [{ index: 0, message, finish_reason: 'stop' }], usage: openAiUsage });
    case path.endsWith('/embeddings'):
      return sendJson(response, { object: 'list', model, data: [{ object: 'embedding', index: 0, embedding: [0.1] }], usage: openAiUsage });
    case path.includes('/responses'): {
      const whole = { id: 'response-1', object: 'response', status: 'completed', model, output: [{ type: 'message', role: 'assistant', content: [{ type: 'output_text', text: spoken }] }], usage: messagesUsage };
      return stream ? sendEvents(response, [{ type: 'response.completed', response: whole }]) : sendJson(response, whole);
    }
    case path.endsWith('/messages'): {
      const whole = { id: 'message-1', type: 'message', role: 'assistant', model, content: [{ type: 'text', text: spoken }], stop_reason: 'end_turn', usage: messagesUsage };
      return stream ? sendEvents(response, [{ type: 'message_start', message: whole }, { type: 'message_stop' }]) : sendJson(response, whole);
    }
    case path.endsWith('enerateContent'): {
      const whole = { candidates: [{ content: { role: 'model', parts: [{ text: spoken }] }, finishReason: 'STOP' }], usageMetadata: { promptTokenCount: 1, candidatesTokenCount: 1, totalTokenCount: 2 } };
      return path.endsWith(':streamGenerateContent') ? sendEvents(response, [whole]) : sendJson(response, whole);
    }
    default:
      return sendJson(response, { answers: [], text: spoken });
  }
}

function parse(body: string): { readonly model?: string; readonly stream?: boolean } {
  try {
    return JSON.parse(body) as object;
  } catch {
    return {}; // a form
  }
}

function sendJson(response: ServerResponse, value: unknown): void {
  response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(value));
}

function sendEvents(response: ServerResponse, events: unknown[]): void {
  response.writeHead(200, { 'content-type': 'text/event-stream' });
  response.end(events.map(event => `data: ${typeof event === 'string' ? event : JSON.stringify(event)}\n\n`).join(''));
}
