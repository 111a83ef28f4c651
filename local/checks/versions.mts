/** Checks that the programs on this machine have the versions that the template deploys. The results of the checks are valid only for these. */

import assert from 'node:assert/strict';
import { join } from 'node:path';
import { execa } from 'execa';
import type { Checks } from './checks.mjs';
import type { Deployment } from '../deployment.mjs';

export async function checkVersions(checks: Checks, deployment: Deployment): Promise<void> {
  const { mlflow, proxy } = { mlflow: deployment.container('mlflow'), proxy: deployment.proxy };
  checks.heading('The versions are those that are deployed');
  await checks.check('MLflow', async () => {
    const python = join(mlflow.env.PATH.split(':')[0], 'python');
    const { stdout } = await execa(python, ['-c', 'from importlib.metadata import version; print(version("mlflow"))']);
    return same(stdout, mlflow.definition.Image);
  });
  await checks.check('oauth2-proxy', async () => same(await proxyVersion(proxy.command[0]), proxy.definition.Image));
}

/** An official build prints its version. A build of the Go module does not, but the Go tool finds the version of the module in it. */
async function proxyVersion(program: string): Promise<string> {
  const { stdout } = await execa(program, ['--version']);
  const [, official] = /^oauth2-proxy v(\S+)/.exec(stdout) ?? [];
  if (official !== undefined) {
    return official;
  }
  const { stdout: modules } = await execa('go', ['version', '-m', program]);
  return /^\tmod\t\S+\tv(\S+)/m.exec(modules)![1];
}

function same(version: string, image: string): string {
  const [, tag] = /:v([\d.]+)(-full)?$/.exec(image) ?? [];
  assert.equal(version, tag, `${version} runs here, but the image is ${image}`);
  return version;
}
