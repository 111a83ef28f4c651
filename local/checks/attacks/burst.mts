/** Very many bad bearer tokens at the same time. */

import assert from 'node:assert/strict';
import type { OutgoingHttpHeaders } from 'node:http';
import { Agent, request } from 'node:https';
import { text } from 'node:stream/consumers';
import type { SignInSuite } from './suite.mjs';
import { lifetime, SigningKey } from '../../aws/issuer.mjs';
import { bearer } from '../../clients/http.mjs';
import { search } from '../api.mjs';

export async function aBurstIsRefused(suite: SignInSuite): Promise<void> {
  const { checks, deployment: { url, issuer: { key } } } = suite;
  const requests = 10_000;
  checks.heading('A burst');
  await checks.check(`of ${requests} bad bearer tokens: each is rejected, and another client is served without errors`, async () => {
    const bad = bearer(await new SigningKey(key.kid).sign(suite.claims(lifetime(3600))));
    const good = bearer(await key.sign(suite.claims(lifetime(3600))));
    const statuses = new Map<number, number>();
    const goodStatuses = new Map<number, number>();
    const agent = new Agent({ keepAlive: true, maxSockets: 32, rejectUnauthorized: false });
    let left = requests;
    const attacker = async () => {
      while (left-- > 0) {
        count(statuses, await statusOf(url, agent, bad));
      }
    };
    let over = false;
    const worker = async () => {
      while (!over) {
        count(goodStatuses, await statusOf(url, agent, good));
      }
    };
    const working = worker();
    await Promise.all(Array.from({ length: 31 }, attacker));
    over = true;
    await working;
    agent.destroy();
    assert.deepEqual([...statuses], [[403, requests]]);
    assert.deepEqual([...goodStatuses.keys()], [200]);
    return `${goodStatuses.get(200)} good requests at the same time`;
  });
}

async function statusOf(url: string, agent: Agent, headers: OutgoingHttpHeaders): Promise<number> {
  return new Promise((resolve, reject) => {
    const { hostname, port } = new URL(url);
    request({ hostname, port, path: search, headers, agent }, response => {
      text(response).then(() => resolve(response.statusCode!), reject);
    }).on('error', reject).end();
  });
}

function count(counts: Map<number, number>, status: number): void {
  counts.set(status, (counts.get(status) ?? 0) + 1);
}
