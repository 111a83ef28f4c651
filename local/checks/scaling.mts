/** Two tasks behind the load balancer. They share only the database, the bucket and the secrets. */

import assert from 'node:assert/strict';
import { setTimeout as sleep } from 'node:timers/promises';
import { statusOfSearch } from './api.mjs';
import type { Checks } from './checks.mjs';
import { Load } from './load.mjs';
import { client, type Send } from '../clients/http.mjs';
import { sessionCookie } from '../clients/person.mjs';
import type { Deployment, TaskPlan } from '../deployment.mjs';

export async function checkScaling(checks: Checks, deployment: Deployment, send: Send, token: string): Promise<void> {
  checks.heading('Two tasks');
  const first = { task: deployment.task, url: deployment.proxyUrl };
  let second!: TaskPlan;
  await checks.check('start with one database', async () => {
    second = await deployment.addTask();
  });
  await checks.check('accept each other\'s sessions', () => takeOneSession(deployment, [first, second]));
  await checks.check('share the load; if one is killed, no acknowledged write is lost', async () => {
    const load = await Load.begin(send, token, { clients: 8 });
    await sleep(3000);
    process.kill(second.task.pid('mlflow'), 'SIGKILL');
    assert.match(await second.task.ended, /^essential container mlflow ended: (SIGKILL|exit code 137)/);
    await deployment.stopTask(second);
    await sleep(3000);
    await load.end();
    await load.assertNothingLost();
    return load.summary;
  });
  await checks.check('can be replaced one after the other under load without a failed request', async () => {
    const load = await Load.begin(send, token, { clients: 8 });
    await deployment.addTask();
    await deployment.stopTask(first);
    await sleep(1000);
    await load.end();
    await load.assertNothingLost();
    assert.equal(load.refused, 0, load.summary);
    return load.summary;
  });
}

export async function takeOneSession({ url: front }: Deployment, tasks: Pick<TaskPlan, 'url'>[]): Promise<void> {
  const cookie = await sessionCookie(front, 'someone@example.com');
  for (const { url } of tasks) {
    assert.equal(await statusOfSearch(client(url), { cookie }), 200, url);
  }
}
