/** An HTTP client that sends requests unchanged: it follows no redirect, normalises no path, and verifies certificates. */

import { readFileSync } from 'node:fs';
import http, { type IncomingHttpHeaders, type OutgoingHttpHeaders } from 'node:http';
import https from 'node:https';
import { connect } from 'node:net';
import type { Readable } from 'node:stream';
import { text } from 'node:stream/consumers';
import { pipeline } from 'node:stream/promises';

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

/** No server listens there. It is used as a proxy where no request may reach the internet. */
export const deadAddress = 'http://127.0.0.1:9';

/** Sends each request on a new connection, or on those of an agent. Without a timeout it waits without limit. */
export function client(origin: string, ca?: string, agent: https.Agent | http.Agent | false = false, timeoutSeconds = 0): Send {
  const { protocol, hostname, port } = new URL(origin);
  const { request } = protocol === 'https:' ? https : http;
  return (path, { method = 'GET', headers, body } = {}) => new Promise((resolve, reject) => {
    // The TLS server name is that of the URL, whatever the Host header contains.
    const to = { hostname, servername: hostname, port, path, method, ca, agent };
    const sent = request({ ...to, headers, maxHeaderSize: 64 * 1024, timeout: timeoutSeconds * 1000 }, response => {
      text(response).then(answer => resolve({ status: response.statusCode!, headers: response.headers, body: answer }), reject);
    }).on('error', reject).on('timeout', () => sent.destroy(new Error(`${origin} does not answer within ${timeoutSeconds} s`)));
    sent.end(body);
  });
}

export function bearer(token: string): OutgoingHttpHeaders {
  return { authorization: `Bearer ${token}` };
}

/** Adds the length of the body, because Node omits length and body if the method usually has no body. */
export function withLength(message: Message): Message {
  return { ...message, headers: { ...message.headers, 'content-length': Buffer.byteLength(message.body ?? '') } };
}

/** Adds a bearer token to a message. */
export function withToken(token: string, message: Message = {}): Message {
  return { ...message, headers: { ...message.headers, ...bearer(token) } };
}

export function json(value: unknown): Pick<Message, 'method' | 'body'> & { readonly headers: OutgoingHttpHeaders } {
  return { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(value) };
}

/** Sends a text and returns the whole answer, until the server closes the connection or is silent for that time. */
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

/** A server with TLS, and the CA of its certificate. */
interface Origin {
  readonly url: string;
  readonly caFile: string;
}

/** Uploads a stream, which need not fit into memory. Returns the status. */
export async function put(to: Origin, token: string, path: string, body: Readable, length: number): Promise<number> {
  const options = withTls(to, token, path);
  const sending = https.request({ ...options, method: 'PUT', headers: { ...options.headers, 'content-length': length } });
  const answer = new Promise<number>((resolve, reject) => sending.on('response', response => {
    response.resume().on('end', () => resolve(response.statusCode!));
  }).on('error', reject));
  await Promise.all([pipeline(body, sending).catch(() => undefined), answer]); // if the body is cut short, the answer has the reason
  return answer;
}

/** Downloads a file in chunks. */
export async function get(from: Origin, token: string, path: string, onChunk: (chunk: Buffer) => void): Promise<void> {
  const response = await new Promise<http.IncomingMessage>((resolve, reject) => https.request(withTls(from, token, path), resolve).on('error', reject).end());
  if (response.statusCode !== 200) {
    throw new Error(`${path} answers ${response.statusCode}`);
  }
  for await (const chunk of response) {
    onChunk(chunk as Buffer);
  }
}

function withTls({ url, caFile }: Origin, token: string, path: string): https.RequestOptions {
  const { hostname, port } = new URL(url);
  return { hostname, port, path, ca: readFileSync(caFile), headers: bearer(token), agent: false };
}
