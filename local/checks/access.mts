/** Levels: every route at every level, real calls, attacks, names, machines, the SDK and the page. */

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { checkAttacks } from './access/attacks.mjs';
import { checkAuthors } from './access/authors.mjs';
import { checkCalls } from './access/calls.mjs';
import { namesWhoCalled, privateProvider } from './access/gateway.mjs';
import { addressOf, asked, lacksLevel, levels, type Level, type Levels } from './access/levels.mjs';
import { checkLevelsInThePage } from './access/page.mjs';
import { checkRoutes } from './access/routes.mjs';
import { api, Seeds } from './access/seeds.mjs';
import { search } from './api.mjs';
import type { Checks } from './checks.mjs';
import { runOutside } from './programs.mjs';
import { lifetime } from '../aws/issuer.mjs';
import { bearer, client, json } from '../clients/http.mjs';
import { sessionCookie } from '../clients/person.mjs';
import { personToken } from '../clients/tokens.mjs';
import type { Deployment } from '../deployment.mjs';
import { AiProvider } from '../providers/ai-provider.mjs';

/** As in the Cognito example, with an additional group of readers, so that one person has no level. */
const groups: Record<Level, string[]> = { none: ['others'], reader: ['everyone'], editor: ['data-science'], admin: ['ml-admins', 'everyone'] };
const everyLevel = {
  everybody: 'none',
  machines: 'editor',
  lists: [{ level: 'admin', groups: ['ml-admins'], names: [] }, { level: 'editor', groups: ['data-science'], names: [] }, { level: 'reader', groups: ['everyone'], names: [] }],
};

export async function checkAccess(checks: Checks, deployment: Deployment, python: string): Promise<void> {
  const tokens = await tokensOf(deployment);
  const front: Levels = { deployment, tokens, send: client(deployment.url, readFileSync(deployment.caFile, 'utf8')) };
  checks.heading('Levels of the example');
  await checkExample(checks, front);
  await checkMachines(checks, front);
  await checks.check('the SDK can do what each level allows, and prints the reason for a refusal', () => usesSdk(front, python));
  await checkLevelsInThePage(checks, front);

  // Without the URL of MLflow's list of AI models, which it would request from the internet repeatedly.
  const env = { SECURE_MLFLOW_ACCESS: JSON.stringify(everyLevel), MLFLOW_ENABLE_AI_GATEWAY: 'true', MLFLOW_MODEL_CATALOG_URI: '' };
  const weak = await deployment.startServerWithoutDoor();
  const provider = new AiProvider(await deployment.site('AI provider', 'http://ai.example.com:443'));
  await provider.start();
  const stack = await deployment.startStack({ env: { ...env, ...privateProvider(provider.url) } });
  const at: Levels = { deployment, tokens, send: stack.send };
  const seeds = new Seeds(at);
  await checkRoutes(checks, at, seeds);
  await checkCalls(checks, at, seeds);
  await checkAttacks(checks, at, seeds, { proxy: stack.url, server: stack.server.url, groups: 'ml-admins' });
  await checkAuthors(checks, at, seeds, weak.send);
  await checks.check('the author of a trace that the server itself makes for a call of the AI gateway', () => namesWhoCalled(at, provider));
  await stack.stop();
  provider.stop();
  await weak.stop();
}

async function tokensOf({ issuer, clients }: Deployment): Promise<Record<Level, string>> {
  const entries: [Level, string][] = [];
  for (const level of levels) {
    issuer.groups.set(addressOf(level), groups[level]);
    entries.push([level, await personToken(issuer.issuer, clients, addressOf(level))]);
  }
  return Object.fromEntries(entries) as Record<Level, string>;
}

async function checkExample(checks: Checks, front: Levels): Promise<void> {
  const create = `${api}/experiments/create`;
  const statuses = async (...who: Level[]) => Promise.all(who.map(async level => (await asked(front, level, create, json({ name: `of ${level}` }))).status));
  await checks.check('come from the groups of Cognito: people without a group read, one group writes, the other deletes', async () => {
    assert.deepEqual(await statuses('none', 'editor', 'admin'), [403, 200, 200]);
    assert.equal((await asked(front, 'none', search)).status, 200); // level `everybody`
    const secrets = await Promise.all((['editor', 'admin'] as const).map(async level => (await asked(front, level, `${api}/webhooks`)).status));
    assert.deepEqual(secrets, [403, 200]);
  });
  await checks.check('a reader cannot get a higher level with forged headers through the load balancer', async () => {
    const { tokens, send } = front;
    const admin = { 'x-forwarded-email': addressOf('admin'), 'x-forwarded-groups': 'ml-admins' };
    for (const forged of [admin, { ...admin, connection: 'close, X-Forwarded-Groups' }, { ...admin, connection: 'close, X-Forwarded-Email, X-Forwarded-Groups' }]) {
      const message = json({ name: 'forged' });
      const { status } = await send(create, { ...message, headers: { ...message.headers, ...bearer(tokens.none), ...forged } });
      assert.equal(status, 403, JSON.stringify(forged));
    }
  });
  await checks.check('a group with a comma in its name counts as several groups, as docs/access.md says', async () => {
    const { issuer, clients } = front.deployment;
    issuer.groups.set('comma@example.com', ['x,ml-admins']);
    const token = await personToken(issuer.issuer, clients, 'comma@example.com');
    assert.equal((await front.send(`${api}/webhooks`, { headers: bearer(token) })).status, 200);
  });
  await checks.check('/oauth2/userinfo shows people their groups, with a session and with a bearer token', async () => {
    const told = ({ body }: { readonly body: string }) => (JSON.parse(body) as { groups?: string[] }).groups;
    const info = '/oauth2/userinfo';
    assert.deepEqual(told(await asked(front, 'admin', info)), groups.admin);
    assert.deepEqual(told(await front.send(info, { headers: { cookie: await sessionCookie(front.deployment.url, addressOf('editor')) } })), groups.editor);
  });
  await checks.check('a refusal is one line of the log, with e-mail address, level, method and path', async () => {
    await asked(front, 'none', `${create}?x=refused`, json({ name: 'x' }));
    const lines = front.deployment.log('mlflow').split('\n').filter(line => line.startsWith(`secure-mlflow refused 403 POST "${create}" of "${addressOf('none')}" (reader): `));
    assert(lines.length >= 1);
  });
}

async function checkMachines(checks: Checks, front: Levels): Promise<void> {
  const { deployment, send } = front;
  const { account, url, roles, machineIdentities, template } = deployment;
  const [role] = template.ids('AWS::IAM::Role').filter(id => machineIdentities.includes(roles.arn(id)));
  const token = await account!.key.sign({ iss: account!.issuer, sub: roles.arn(role), aud: url, ...lifetime(600) });
  await checks.check('a role has the level of `machines`, and its runs have its name', async () => {
    const { status, body } = await send(`${api}/runs/create`, { ...json({ experiment_id: '0', user_id: 'ada@example.com' }), headers: { 'content-type': 'application/json', ...bearer(token) } });
    assert.equal(status, 200, body);
    assert.equal((JSON.parse(body) as { run: { info: { user_id: string } } }).run.info.user_id, roles.arn(role));
    const refused = await send(`${api}/webhooks`, { headers: bearer(token) });
    assert.deepEqual([refused.status, /is an editor here/.test(refused.body)], [403, true]);
  });
  await checks.check('a role on the list of readers cannot write', async () => {
    const policy = { ...everyLevel, lists: [{ level: 'reader', groups: [], names: [roles.arn(role)] }] };
    const stack = await deployment.startStack({ env: { SECURE_MLFLOW_ACCESS: JSON.stringify(policy) } });
    const headers = bearer(token);
    assert.equal((await stack.send(search, { headers })).status, 200);
    const { status, body } = await stack.send(`${api}/runs/create`, { ...json({ experiment_id: '0' }), headers: { 'content-type': 'application/json', ...headers } });
    assert.deepEqual([status, /role\/.* is a reader here/.test(body)], [403, true], body);
    await stack.stop();
  });
}

async function usesSdk({ deployment, tokens }: Levels, python: string): Promise<string> {
  const { url, caFile } = deployment;
  const { stdout } = await runOutside(deployment, [python, join(import.meta.dirname, 'access', 'sdk.py'), tokens.none, tokens.editor, tokens.admin], {
    env: { MLFLOW_TRACKING_URI: url, MLFLOW_TRACKING_SERVER_CERT_PATH: caFile, REQUESTS_CA_BUNDLE: caFile, PATH: '/usr/bin:/bin', HOME: '/tmp' },
    extendEnv: false,
  });
  const { user, read, refused, kept, deleted } = JSON.parse(stdout.split('\n').at(-1)!) as Record<'user' | 'refused' | 'kept' | 'deleted', string> & { read: unknown };
  assert.equal(user, addressOf('editor'));
  assert.deepEqual(read, { metric: 1, text: 'hello' });
  for (const reason of [refused, kept]) {
    assert(lacksLevel(403, reason.replace(/^PERMISSION_DENIED: /, '')) && reason.startsWith('PERMISSION_DENIED: '), reason);
  }
  assert.equal(deleted, 'deleted');
  return refused;
}
