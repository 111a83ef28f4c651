/** `npm run try -- --check --url`: the checks that need only the address of a server and a bearer token. */

import { randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import type { Checks } from './checks/checks.mjs';
import { checkDeployed, checkWrites, roleToken, type DeployedServer } from './checks/server.mjs';
import { client } from './clients/http.mjs';
import { installPlugin } from './install.mjs';
import { installMlflow, pluginFolder, python } from './run.mjs';

export interface DeployedOptions {
  readonly url: string;
  readonly write: boolean;
  /** The parts of `--check` that need the stand-ins for AWS on this machine. */
  readonly needStack: readonly string[];
}

/** The bearer token is the one that MLflow's client would use: from the environment, or the AWS identity token of this process's role. */
export async function checkServerAt(checks: Checks, { url, write, needStack }: DeployedOptions): Promise<void> {
  const { MLFLOW_TRACKING_SERVER_CERT_PATH: file, MLFLOW_TRACKING_TOKEN: given, MLFLOW_TRACKING_AUTH: auth } = process.env;
  delete process.env.MLFLOW_TRACKING_TOKEN; // no program that is installed or started from here on needs it
  delete process.env.MLFLOW_TRACKING_AUTH;
  const ca = file ? { file, certificates: readFileSync(file, 'utf8') } : undefined;
  const asRole = !given && auth === 'aws-role';
  if (write && !given && !asRole) {
    throw new Error('--write needs MLFLOW_TRACKING_TOKEN, or MLFLOW_TRACKING_AUTH=aws-role for the role of this process');
  }
  if (asRole || write) {
    await installMlflow();
  }
  const token = asRole ? await tokenOfRole(url) : given || undefined;
  const server: DeployedServer = { url, ca, token, send: client(url, ca?.certificates, false, 15) };
  const name = `check-${randomBytes(4).toString('hex')}`;
  if (await checkDeployed(checks, server) && write && token !== undefined) {
    await checkWrites(checks, { ...server, token }, python, name);
    console.log(`\nNot removed from the server: the experiment and the registered model ${name}, with 230 MB of files`);
  }
  const leftOut = [
    ...token === undefined ? ['checks that need a bearer token: set MLFLOW_TRACKING_TOKEN, or MLFLOW_TRACKING_AUTH=aws-role for the role of this process'] : [],
    ...write ? [] : ['a training job: add --write, with the bearer token of an editor; it leaves an experiment, a run and a registered model'],
    `checks that need the stack on this machine: ${needStack.join(', ')} (run the same command without --url)`,
  ];
  console.log(`\nSkipped\n${leftOut.map(line => `  - ${line}`).join('\n')}`);
}

async function tokenOfRole(url: string): Promise<string> {
  await installPlugin(pluginFolder, python);
  return roleToken(url, python, pluginFolder);
}
