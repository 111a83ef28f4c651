/** An HTTP client that sends exactly what it is told: no redirect followed, no path tidied, certificates verified. */

import http, { type IncomingHttpHeaders, type OutgoingHttpHeaders } from 'node:http';
import https from 'node:https';
import { connect } from 'node:net';
import { text } from 'node:stream/consumers';

export interface Answer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly body: string;
}

export interface Message {
  readonly method?: string;
  readonly headers?: OutgoingHttpHeaders;
  readonly body?: string | Buffer;
}

export type Send = (path: string, message?: Message) => Promise<Answer>;

/** Nothing listens there: what a proxy of the network is set to where nothing may reach the internet. */
export const deadAddress = 'http://127.0.0.1:9';

/** Every request on a connection of its own, or on those of an agent. */
export function client(origin: string, ca?: string, agent: https.Agent | http.Agent | false = false): Send {
  const { protocol, hostname, port } = new URL(origin);
  const { request } = protocol === 'https:' ? https : http;
  return (path, { method = 'GET', headers, body } = {}) => new Promise((resolve, reject) => {
    // The name of the server is the one called, whatever the Host header claims.
    request({ hostname, servername: hostname, port, path, method, headers, ca, agent, maxHeaderSize: 64 * 1024 }, response => {
      text(response).then(answer => resolve({ status: response.statusCode!, headers: response.headers, body: answer }), reject);
    }).on('error', reject).end(body);
  });
}

export function bearer(token: string): OutgoingHttpHeaders {
  return { authorization: `Bearer ${token}` };
}

/** The same message with a token. */
export function withToken(token: string, message: Message = {}): Message {
  return { ...message, headers: { ...message.headers, ...bearer(token) } };
}

export function json(value: unknown): Pick<Message, 'method' | 'body'> & { readonly headers: OutgoingHttpHeaders } {
  return { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(value) };
}

/** Everything that comes back for a text, until the server closes or says nothing for so long. */
export async function raw(url: string, message: string, silenceMs = 1000): Promise<string> {
  const { hostname, port } = new URL(url);
  return new Promise(resolve => {
    let answer = '';
    const socket = connect(Number(port), hostname, () => socket.write(message));
    socket.setTimeout(silenceMs, () => socket.destroy());
    socket.on('data', data => { answer += data.toString(); });
    socket.on('error', () => undefined);
    socket.on('close', () => resolve(answer));
  });
}
