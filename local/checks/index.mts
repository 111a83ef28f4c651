/** All checks that `npm run try -- --check` runs against the running deployments. */

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { Agent } from 'node:https';
import { setTimeout as sleep } from 'node:timers/promises';
import { client } from '../clients/http.mjs';
import { personToken } from '../clients/tokens.mjs';
import type { Deployment } from '../deployment.mjs';
import { groupIsAlive, launched } from '../processes.mjs';
import { checkAccess } from './access.mjs';
import { checkAttacks } from './attacks.mjs';
import { checkBehindTheDoor } from './behind-the-door.mjs';
import { checkBrowser } from './browser.mjs';
import type { Checks } from './checks.mjs';
import { checkCleanUp } from './clean-up.mjs';
import { checkAgainstItself } from './deployed.mjs';
import { checkUse } from './examples.mjs';
import { checkFaults } from './faults.mjs';
import { checkLogs } from './logs.mjs';
import { checkMachines, checkOwnAccounts } from './machines.mjs';
import { checkNetworkProxy } from './network-proxy.mjs';
import { checkOwnApps, type OwnApps } from './own-app.mjs';
import { checkPeople } from './people.mjs';
import { checkPolicies } from './policies.mjs';
import { checkPrograms } from './programs.mjs';
import { checkRotation } from './rotation.mjs';
import { checkScaling } from './scaling.mjs';
import { checkSessions } from './sessions.mjs';
import { checkShortWay } from './short-way.mjs';
import { checkSignIn, type SignInOptions } from './sign-in.mjs';
import { checkTask } from './task.mjs';
import { failsWithoutS3 } from './transfer.mjs';
import { checkTraversal } from './traversal.mjs';
import { checkUpgrades, type UpgradeOptions } from './upgrades.mjs';
import { checkVersions } from './versions.mjs';
import { checkWorld } from './world.mjs';

/** What people and programs do every day, and the state of the task. */
export async function checkQuickStart(checks: Checks, deployment: Deployment, python: string): Promise<void> {
  const send = client(deployment.url, readFileSync(deployment.caFile, 'utf8'));
  const token = await personToken(deployment.issuer.issuer, deployment.clients, 'someone@example.com');
  await checkVersions(checks, deployment);
  await checkPeople(checks, deployment, send);
  const run = await checkPrograms(checks, { deployment, send, token, python });
  await checkBrowser(checks, deployment, run);
  await failsWithoutS3(checks, { deployment, token, python });
  await checkTask(checks, deployment, send, token);
  await checkEnd(checks, deployment);
}

/** The purpose of an example that has no separate checks. */
export async function checkExample(checks: Checks, example: string, deployment: Deployment, python: string): Promise<void> {
  const token = await personToken(deployment.issuer.issuer, deployment.clients, 'someone@example.com');
  await checkUse(checks, example, { deployment, token, python });
  await checkEnd(checks, deployment);
}

/** Failures of the services that the task needs. */
export async function checkResilience(checks: Checks, deployment: Deployment): Promise<void> {
  const send = client(deployment.url, readFileSync(deployment.caFile, 'utf8'), new Agent({ keepAlive: true }));
  const token = await personToken(deployment.issuer.issuer, deployment.clients, 'someone@example.com');
  await checkFaults(checks, deployment, send, token);
  await checkEnd(checks, deployment);
}

export async function checkTwoTasks(checks: Checks, deployment: Deployment): Promise<void> {
  const send = client(deployment.url, readFileSync(deployment.caFile, 'utf8'), new Agent({ keepAlive: true }));
  const token = await personToken(deployment.issuer.issuer, deployment.clients, 'someone@example.com');
  await checkScaling(checks, deployment, send, token);
  await checkEnd(checks, deployment);
}

/** Which people and machines are admitted and which are rejected. */
export async function checkIdentities(checks: Checks, deployment: Deployment, python: string, pluginFolder: string): Promise<void> {
  const send = client(deployment.url, readFileSync(deployment.caFile, 'utf8'));
  deployment.issuer.groups.set('someone@example.com', ['ml-admins']);
  const token = await personToken(deployment.issuer.issuer, deployment.clients, 'someone@example.com');
  await checkVersions(checks, deployment);
  await checkMachines(checks, { deployment, send, python, pluginFolder });
  await checkAttacks(checks, deployment, send);
  await checkTraversal(checks, deployment, send, token);
  await checkPolicies(checks, deployment, send, token);
  await checkEnd(checks, deployment);
}

/** The command-line tool for people. */
export async function checkTools(checks: Checks, deployment: Deployment, tools: Pick<SignInOptions, 'python' | 'packages' | 'program'>): Promise<void> {
  const send = client(deployment.url, readFileSync(deployment.caFile, 'utf8'));
  await checkSignIn(checks, { ...tools, deployment, send });
  await checkEnd(checks, deployment);
}

/** The checks for a server that has been deployed. */
export async function checkAsDeployed(checks: Checks, deployment: Deployment): Promise<void> {
  const { machineIdentities, roles, template, issuer, clients } = deployment;
  issuer.groups.set('someone@example.com', ['ml-admins']);
  const admin = await personToken(issuer.issuer, clients, 'someone@example.com');
  const role = template.ids('AWS::IAM::Role').find(id => machineIdentities.includes(roles.arn(id)))!;
  await checkAgainstItself(checks, deployment, { admin, role });
  await checkEnd(checks, deployment);
}

/** The rights of each level. */
export async function checkLevels(checks: Checks, deployment: Deployment, python: string): Promise<void> {
  await checkAccess(checks, deployment, python);
  await checkEnd(checks, deployment);
}

/** What people who have signed in can do to each other, to the server and to other servers that it can reach. */
export async function checkInside(checks: Checks, deployment: Deployment): Promise<void> {
  await checkBehindTheDoor(checks, deployment);
  await checkEnd(checks, deployment);
}

/** The short way to MLflow's handlers, compared with MLflow's own app. */
export async function checkWays(checks: Checks, deployment: Deployment): Promise<void> {
  await checkShortWay(checks, deployment);
  await checkEnd(checks, deployment);
}

/** A newer MLflow with the database of an older one. */
export async function checkUpgrade(checks: Checks, options: UpgradeOptions): Promise<void> {
  await checkUpgrades(checks, options);
  await checkEnd(checks, options.deployment);
}

/** Tasks that reach the internet through a proxy of the network. */
export async function checkProxiedNetwork(checks: Checks, deployment: Deployment): Promise<void> {
  const send = client(deployment.url, readFileSync(deployment.caFile, 'utf8'));
  const token = await personToken(deployment.issuer.issuer, deployment.clients, 'someone@example.com');
  await checkNetworkProxy(checks, deployment, send, token);
  await checkEnd(checks, deployment);
}

/** The server connects to the database without a password. */
export async function checkDatabaseTokens(checks: Checks, deployment: Deployment, python: string): Promise<void> {
  const token = await personToken(deployment.issuer.issuer, deployment.clients, 'someone@example.com');
  await checkRotation(checks, deployment, token, python);
  await checkEnd(checks, deployment);
}

/** Sessions that are kept on the server and can be revoked. */
export async function checkServerSessions(checks: Checks, deployment: Deployment): Promise<void> {
  const send = client(deployment.url, readFileSync(deployment.caFile, 'utf8'));
  const token = await personToken(deployment.issuer.issuer, deployment.clients, 'someone@example.com');
  await checkSessions(checks, deployment, send, token);
  await checkEnd(checks, deployment);
}

/** An app that is not one of the examples. */
export async function checkOwnApp(checks: Checks, options: OwnApps): Promise<void> {
  await checkOwnApps(checks, options);
  await checkEnd(checks, options.deployment);
}

/** The task as it is synthesised, in a simulated network. */
export async function checkVerbatim(checks: Checks, deployment: Deployment): Promise<void> {
  await checkWorld(checks, deployment);
  await checkEnd(checks, deployment);
}

/** What the scheduled task removes permanently. */
export async function checkRemoval(checks: Checks, deployment: Deployment): Promise<void> {
  const send = client(deployment.url, readFileSync(deployment.caFile, 'utf8'));
  const token = await personToken(deployment.issuer.issuer, deployment.clients, 'someone@example.com');
  await checkOwnAccounts(checks, deployment, send);
  await checkCleanUp(checks, deployment, send, token);
  await checkLogs(checks, deployment, send, token);
  await checkEnd(checks, deployment);
}

async function checkEnd(checks: Checks, deployment: Deployment): Promise<void> {
  checks.heading('At the end');
  await checks.check('all programs stop on request and leave no process behind', async () => {
    await deployment.stop();
    const left = () => launched.filter(({ pid }) => groupIsAlive(pid)).map(({ pid }) => pid);
    for (let tries = 0; left().length > 0 && tries < 50; tries += 1) {
      await sleep(200); // children that were killed together with the first process need a moment to end
    }
    assert.deepEqual(left(), []);
  });
}
