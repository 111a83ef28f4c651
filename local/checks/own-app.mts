/** `npm run try -- --app`: an app that knows nothing of this project's examples. */

import assert from 'node:assert/strict';
import { join } from 'node:path';
import type { Checks } from './checks.mjs';
import { bearer, type Send } from '../clients/http.mjs';
import type { Deployment } from '../deployment.mjs';
import { readOwnApp } from '../own-app.mjs';

const here = import.meta.dirname;

/** As in a `cdk.json`, from whatever folder. */
export const ownApp = ['env', `TSX_TSCONFIG_PATH=${join(here, '..', 'examples.tsconfig.json')}`, 'node', '--import', import.meta.resolve('tsx'), join(here, '..', 'apps', 'own-app.ts')]
  .map(word => `'${word}'`).join(' ');
export const ownStack = 'Test/Research';

export async function checkOwnApps(checks: Checks, deployment: Deployment, send: Send, token: string, output: string): Promise<void> {
  checks.heading('An app of your own');
  await checks.check('runs as it is: of several stages the one that is named, in its account and region, with a VPC that is looked up', async () => {
    const { template, url, containers } = deployment;
    assert.deepEqual([template.account, template.region], ['210987654321', 'us-west-2']);
    assert(containers.some(({ env }) => env.AWS_REGION === 'us-west-2'));
    return url;
  });
  await checks.check('takes an artifact, by the role of its task, and gives it back', async () => {
    const path = '/api/2.0/mlflow-artifacts/artifacts/own-app/note.txt';
    assert.equal((await send(path, { method: 'PUT', headers: bearer(token), body: 'stored' })).status, 200);
    assert.equal((await send(path, { headers: bearer(token) })).body, 'stored');
  });
  for (const [what, app, stack, says] of [
    ['several servers and none named', ownApp, undefined, /^several stacks have a SecureMlflow: name one with --stack \(Test\/Research, Production\/Sales\)$/],
    ['a stack that is not there', ownApp, 'Mlflow', /^Mlflow is not a stack with a SecureMlflow, which are /],
    ['no server', `OWN_APP=none ${ownApp}`, undefined, /^no stack in .* has a SecureMlflow$/],
    ['a command that fails', 'exit 3', undefined, /^`exit 3`, run in .*, has not made a cloud assembly: /],
    ['a folder without an assembly', 'nowhere', undefined, /^`nowhere`, run in .*, has not made a cloud assembly: /],
  ] as const) {
    await checks.check(`${what}: one sentence`, async () => {
      await assert.rejects(readOwnApp(app, stack, output), ({ message }: Error) => says.test(message) || assert.fail(message));
    });
  }
}
