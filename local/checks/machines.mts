/** Machines: AWS roles with `grantTrackingAccess`, and machine clients of Cognito, each with the package in clients/. */

import assert from 'node:assert/strict';
import type { JWTPayload } from 'jose';
import { search, statusOfSearch } from './api.mjs';
import type { Checks } from './checks.mjs';
import { runLongJob } from './programs.mjs';
import { lifetime } from '../aws/issuer.mjs';
import { bearer, json, type Send } from '../clients/http.mjs';
import { Person } from '../clients/person.mjs';
import type { Deployment } from '../deployment.mjs';

interface MachineOptions {
  readonly deployment: Deployment;
  readonly send: Send;
  readonly python: string;
  /** The folder of the package for clients. */
  readonly pluginFolder: string;
}

const jobSeconds = 15;
const tokenSeconds = 4;

/** Runs a job with these settings of the package. Returns how much it logged. */
type LongJob = (env: Record<string, string>) => Promise<string>;

export async function checkMachines(checks: Checks, { deployment, send, python, pluginFolder }: MachineOptions): Promise<void> {
  const { url, caFile } = deployment;
  const longJob: LongJob = env => runLongJob(deployment, python, jobSeconds, {
    MLFLOW_TRACKING_URI: url, MLFLOW_TRACKING_SERVER_CERT_PATH: caFile, PYTHONPATH: pluginFolder, ...env,
  });

  checks.heading('A role with grantTrackingAccess');
  await checkRole(checks, deployment, send, longJob);
  checks.heading('A machine client of Cognito');
  await checkMachineClient(checks, deployment, send, longJob);
  checks.heading('A person');
  await checks.check('signs out of Cognito, too, and must sign in again', () => signsOutOfCognito(deployment));
}

async function checkRole(checks: Checks, deployment: Deployment, send: Send, longJob: LongJob): Promise<void> {
  const { machineIdentities, roles, template, url } = deployment;
  const account = deployment.account!;
  const [role] = template.ids('AWS::IAM::Role').filter(id => machineIdentities.includes(roles.arn(id)));
  const ask = (changes: Record<string, string | string[]>) => () => roles.authorize(role, 'sts:GetWebIdentityToken', {
    'sts:IdentityTokenAudience': [url], 'sts:DurationSeconds': '3600', 'sts:SigningAlgorithm': 'RS256', ...changes,
  });
  await checks.check('may request AWS identity tokens only for this server', async () => {
    assert.doesNotThrow(ask({}));
    assert.doesNotThrow(ask({ 'sts:SubjectMode': 'AWSIdentity' }));
    assert.throws(ask({ 'sts:IdentityTokenAudience': ['https://other.example.com'] }));
    assert.throws(ask({ 'sts:IdentityTokenAudience': [url, 'https://other.example.com'] }));
    assert.throws(ask({ 'sts:DurationSeconds': '3601' }));
    assert.throws(ask({ 'sts:SigningAlgorithm': 'ES384' }));
    assert.throws(ask({ 'sts:SubjectMode': 'OriginIdentity' }));
  });
  await checks.check(`logs for ${jobSeconds} s with AWS identity tokens that expire after ${tokenSeconds} s`, async () => {
    account.tokenSeconds = tokenSeconds;
    const logged = await longJob({
      MLFLOW_TRACKING_AUTH: 'aws-role',
      AWS_REGION: template.region,
      ...!deployment.verbatim && { AWS_ENDPOINT_URL_STS: account.issuer },
      AWS_ACCESS_KEY_ID: role,
      AWS_SECRET_ACCESS_KEY: 'not checked here',
    });
    assert(account.tokensIssued >= 3, `${account.tokensIssued} tokens`);
    return `${logged}, ${account.tokensIssued} tokens`;
  });
  await checks.check('is accepted whatever the case of its name', async () => {
    const token = await account.key.sign({ iss: account.issuer, sub: roles.arn(role).toUpperCase(), aud: url, ...lifetime(60) });
    assert.equal(await statusOfSearch(send, bearer(token)), 200);
  });
}

async function checkMachineClient(checks: Checks, deployment: Deployment, send: Send, longJob: LongJob): Promise<void> {
  const { issuer, clients, template, secrets } = deployment;
  const credentials = template.ids('AWS::SecretsManager::Secret').map(id => secrets.valueFrom(template.attribute(id, 'Ref'))).find(value => value.startsWith('{"tokenUrl"'))!;
  const { tokenUrl, clientId, clientSecret, scope } = JSON.parse(credentials) as Record<string, string>;
  await checks.check(`logs for ${jobSeconds} s with access tokens that expire after ${tokenSeconds} s, with the settings in its secret`, async () => {
    issuer.machineTokenSeconds = tokenSeconds;
    const logged = await longJob({
      MLFLOW_TRACKING_AUTH: 'client-credentials',
      // By substitution the sign-in pages are at the URL of the issuer.
      MLFLOW_SECURE_TRACKING_TOKEN_URL: deployment.verbatim ? tokenUrl : issuer.issuer + new URL(tokenUrl).pathname,
      MLFLOW_SECURE_TRACKING_CLIENT_ID: clientId,
      MLFLOW_SECURE_TRACKING_CLIENT_SECRET: clientSecret,
      MLFLOW_SECURE_TRACKING_SCOPE: scope,
    });
    assert(issuer.machineTokensIssued >= 3, `${issuer.machineTokensIssued} tokens`);
    return `${logged}, ${issuer.machineTokensIssued} tokens`;
  });
  const access = (id: string, sub = id) => issuer.key.sign({ iss: issuer.issuer, sub, client_id: id, token_use: 'access', ...lifetime(60) });
  await checks.check('is accepted with its access token; access tokens of another client or of a person are rejected', async () => {
    assert.equal(await statusOfSearch(send, bearer(await access(clientId))), 200);
    assert.equal(await statusOfSearch(send, bearer(await access('another-client'))), 403);
    assert.equal(await statusOfSearch(send, bearer(await access(clients.proxy.id, '4b1c2d3e-person'))), 403);
  });
}

async function signsOutOfCognito({ issuer, substitutions, template, url }: Deployment): Promise<void> {
  const person = await Person.meet('someone@example.com');
  try {
    await person.open(`${url}/`);
    assert.equal((await person.http.get(url + search)).status(), 200);
    const signOut = substitutions.applyEncoded(template.output('MlflowSignOut'));
    const signIn = `${new URL(issuer.issuer).origin}/interaction/`;
    const { url: end } = await person.open(signOut, signIn);
    assert(end.startsWith(signIn), end);
    assert.equal((await person.http.get(url + search)).status(), 401);
  } finally {
    await person.leave();
  }
}

/** With `machineIdentities`, oauth2-proxy does not check for the company's Google Workspace. The inner door does. */
export async function checkOwnAccounts(checks: Checks, deployment: Deployment, send: Send): Promise<void> {
  checks.heading('With machineIdentities');
  await checks.check('a personal Google account with a company address is refused by the inner door, for the API and for traces; the machine is accepted', async () => {
    const { issuer: { issuer, key }, clients } = deployment;
    const statuses = async (claims: JWTPayload) => {
      const headers = { ...bearer(await key.sign({ iss: issuer, aud: clients.toolId, sub: '1', email_verified: true, ...lifetime(60), ...claims })), 'x-mlflow-experiment-id': '0' };
      const found = await send(search, { headers });
      const traces = await send('/v1/traces', { ...json({ resourceSpans: [] }), headers: { 'content-type': 'application/json', ...headers } });
      return [found, traces].map(({ status, body }) => /Google Workspace/.test(body) ? 'not of the company' : status);
    };
    const refused = ['not of the company', 'not of the company'];
    assert.deepEqual(await statuses({ email: 'left@example.com' }), refused);
    assert.deepEqual(await statuses({ email: 'left@example.com', hd: 'evil.example' }), refused);
    assert.deepEqual(await statuses({ email: 'someone@example.com', hd: 'example.com' }), [200, 400]); // no spans
    assert.deepEqual(await statuses({ email: 'ci@project.iam.gserviceaccount.com' }), [200, 400]);
    assert.deepEqual(await statuses({ email: 'other@project.iam.gserviceaccount.com', hd: 'example.com' }), [403, 403]); // by oauth2-proxy
  });
}
