/** `npm run try -- --app`: an app that is independent of this project's examples. */

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import type { Checks } from './checks.mjs';
import type { Template } from '../aws/template.mjs';
import { bearer, client } from '../clients/http.mjs';
import { personToken, somebodyOf } from '../clients/tokens.mjs';
import type { Deployment } from '../deployment.mjs';
import { readOwnApp } from '../own-app.mjs';

const local = join(import.meta.dirname, '..');

/** A command as in a `cdk.json`. It works in any folder. */
export const ownApp = commandOf('own-app.ts');
export const ownStack = 'Test/Research';

export interface OwnApps {
  readonly deployment: Deployment;
  /** The folder of its cloud assembly. */
  readonly assembly: string;
  /** Another folder for a cloud assembly. */
  readonly output: string;
  /** Rejected if the template cannot be run. */
  tryToRun(template: Promise<Template>): Promise<unknown>;
}

export async function checkOwnApps(checks: Checks, { deployment, assembly, output, tryToRun }: OwnApps): Promise<void> {
  const { template, containers, url, issuer, clients, proxy, caFile } = deployment;
  checks.heading('An app of your own');
  await checks.check('runs unchanged: the named one of several stages, in its account and region, with a VPC that is looked up', async () => {
    assert.deepEqual([template.account, template.region], ['210987654321', 'us-west-2']);
    assert(containers.some(({ env }) => env.AWS_REGION === 'us-west-2'));
  });
  const path = '/api/2.0/mlflow-artifacts/artifacts/own-app/note.txt';
  const send = client(url, readFileSync(caFile, 'utf8'));
  await checks.check('admits the person whose bearer token is printed, who is in an allowed domain and group', async () => {
    const { reader } = somebodyOf(proxy.env, issuer);
    const credentials = bearer(await personToken(issuer.issuer, clients, reader));
    assert.equal(reader, 'someone@example.org');
    assert.equal((await send(path, { method: 'PUT', headers: credentials, body: 'stored' })).status, 200);
    assert.equal((await send(path, { headers: credentials })).body, 'stored');
    issuer.groups.set(reader, ['others']);
    assert.equal((await send(path, { headers: bearer(await personToken(issuer.issuer, clients, reader)) })).status, 403);
  });
  await checks.check('can also be given as the folder of its cloud assembly, relative to the folder in which npm was called', async () => {
    const before = process.env.INIT_CWD;
    process.env.INIT_CWD = dirname(assembly);
    try {
      assert.deepEqual((await readOwnApp(assembly.slice(dirname(assembly).length + 1), ownStack, output)).differences(template), []);
    } finally {
      process.env.INIT_CWD = before;
    }
  });
  for (const [what, app, stack, says] of [
    ['several servers, and no name given', ownApp, undefined, /^several stacks have a SecureMlflow: name one with --stack \(Test\/Research, Production\/Sales\)$/],
    ['a stack that does not exist', ownApp, 'Mlflow', /^Mlflow is not a stack with a SecureMlflow; the stacks with one are /],
    ['two servers in one stack', `OWN_APP=two-in-one ${ownApp}`, undefined, /^Both has several SecureMlflow: /],
    ['no server', `OWN_APP=none ${ownApp}`, undefined, /^no stack in .* has a SecureMlflow$/],
    ['sign-in with GitHub', commandOf('providers-app.ts'), 'github', /^the sign-in with github has no stand-in here, /],
    ['sign-in with GitLab', commandOf('providers-app.ts'), 'gitlab', /^the sign-in with gitlab has no stand-in here, /],
    ['a command that fails', 'exit 3', undefined, /^`exit 3`, run in .*, did not write a cloud assembly: /],
    ['a folder without an assembly', 'nowhere', undefined, /^`nowhere`, run in .*, did not write a cloud assembly: /],
  ] as const) {
    await checks.check(`an error of one sentence: ${what}`, async () => {
      await assert.rejects(tryToRun(readOwnApp(app, stack, output)), ({ message }: Error) => says.test(message) || assert.fail(message));
    });
  }
}

function commandOf(app: string): string {
  const words = ['env', `TSX_TSCONFIG_PATH=${join(local, 'examples.tsconfig.json')}`, 'node', '--import', import.meta.resolve('tsx'), join(local, 'apps', app)];
  return words.map(word => `'${word}'`).join(' ');
}
