/** Everything that `npm run try -- --check` does with the running deployment. */

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Checks } from '../checks.mjs';
import type { Deployment } from '../deployment.mjs';
import { client } from '../http.mjs';
import { groupIsAlive, launched } from '../processes.mjs';
import { toolToken } from '../tokens.mjs';
import { checkBrowser } from './browser.mjs';
import { checkPeople } from './people.mjs';
import { checkPrograms } from './programs.mjs';
import { checkTask } from './task.mjs';

export async function checkDeployment(checks: Checks, deployment: Deployment, python: string): Promise<void> {
  const send = client(deployment.url, readFileSync(deployment.caFile, 'utf8'));
  const token = await toolToken(deployment.issuer.issuer, deployment.clients, 'someone@example.com');

  await checkPeople(checks, deployment, send);
  const run = await checkPrograms(checks, { deployment, send, token, python });
  await checkBrowser(checks, deployment, run);
  await checkTask(checks, deployment, send, token);

  checks.heading('At the end');
  await checks.check('everything stops when asked to, and leaves no process behind', async () => {
    await deployment.stop();
    await sleep(1000); // what was killed with its first process needs a moment to be gone
    assert.deepEqual(launched.filter(({ pid }) => groupIsAlive(pid)).map(({ pid }) => pid), []);
  });
}
