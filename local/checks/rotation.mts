/** The server connects to the database with IAM authentication, with a token that changes every few seconds. */

import assert from 'node:assert/strict';
import { statSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Checks } from './checks.mjs';
import { processesOf, read, residentMiB } from './proc.mjs';
import { clientSettings, runOutside } from './programs.mjs';
import { parseUser } from '../aws/substitutions.mjs';
import { sessionCookie } from '../clients/person.mjs';
import type { Deployment } from '../deployment.mjs';

const seconds = 20;

export async function checkRotation(checks: Checks, deployment: Deployment, token: string, python: string): Promise<void> {
  checks.heading('The server connects to the database with IAM tokens');
  await checkTokens(checks, deployment, token, python);
  await checkSecrecy(checks, deployment);
  await checkRights(checks, deployment);
  await checkChanges(checks, deployment, token, python);
  await checks.check('a side container that is killed ends the task, with the reason', async () => {
    const { task } = deployment;
    const memory = residentMiB(task.pid('database-token'));
    process.kill(task.pid('database-token'), 'SIGKILL');
    const reason = await task.ended;
    assert.match(reason, /^essential container database-token ended: (SIGKILL|exit code 137)/);
    return `${reason.split('\n')[0]}; it used ${memory} MiB`;
  });
}

async function checkTokens(checks: Checks, deployment: Deployment, token: string, python: string): Promise<void> {
  const tokens = deployment.databaseTokens!;
  await checks.check(`no write fails in ${seconds} s while the IAM token changes every few seconds`, async () => {
    const before = tokens.accepted;
    const connections = await made(deployment);
    const { written, failures, slowest } = await runSteadyJob(deployment, python, seconds, clientSettings(deployment, token));
    const changes = tokens.accepted - before;
    const connected = await made(deployment) - connections;
    assert.deepEqual(failures, []);
    assert(written > 100 && changes >= seconds / 5 && connected > changes, `${written} written, ${changes} changes, ${connected} connections`);
    const busy = deployment.log('oauth2-proxy').match(/ 503 /g)?.length ?? 0;
    return `${written} writes, ${changes} tokens, ${connected} new connections, ${busy} × 503 that the client retried, the slowest write ${slowest} s`;
  });
  await checks.check('RDS would accept every token: signed by the role of the task, for this user, host and port, not expired', async () => {
    assert.deepEqual(tokens.refusals, []);
    assert(tokens.accepted > 0);
  });
  await checks.check('a token that was changed, or is for another user or host, is rejected', async () => {
    const [databaseHost] = deployment.sites.database.here.split(':');
    for (const [from, to] of [[/.$/, 'x'], ['DBUser=mlflow_iam', 'DBUser=mlflow'], [databaseHost, 'elsewhere'], ['Action=connect', 'Action=else']] as const) {
      const { user, refusal } = await tokens.check(tokens.token.replace(from, to));
      assert.equal(user, undefined, `with ${to} it was accepted`);
      assert(refusal);
    }
  });
}

async function checkSecrecy(checks: Checks, deployment: Deployment): Promise<void> {
  const masterPassword = passwordOf(deployment);
  await checks.check('no secret of the database is in the environment of the server or of the side container', async () => {
    for (const name of ['mlflow', 'database-token']) {
      const { definition, env } = deployment.container(name);
      assert(!('PGPASSWORD' in env) && !JSON.stringify(env).includes(masterPassword) && !definition.Secrets?.some(({ Name }) => Name.startsWith('PG')), name);
      const environments = processesOf(deployment.task.pid(name)).map(pid => read(`/proc/${pid}/environ`)).filter(Boolean);
      assert(environments.length > 0 && environments.every(text => !text.includes(masterPassword) && !text.includes('PGPASSWORD')), name);
    }
    assert(masterPassword.length > 0);
  });
  await checks.check('the file belongs to the server\'s user, and other users cannot read it', async () => {
    const [mlflow, side] = ['mlflow', 'database-token'].map(name => deployment.container(name));
    const { mode, uid } = statSync(deployment.onDisk('mlflow', mlflow.env.PGPASSFILE));
    assert.equal(mode.toString(8), '100600'); // a plain file, 0600
    assert.equal(uid, side.user?.uid ?? process.getuid!());
    assert.deepEqual(parseUser(mlflow.definition.User), parseUser(side.definition.User));
  });
  await checks.check('no token is in a log', async () => {
    for (const name of ['database-token', 'mlflow', 'prepare']) {
      assert(!deployment.log(name).includes('X-Amz-Signature'), name);
    }
  });
}

async function checkRights(checks: Checks, { database }: Deployment): Promise<void> {
  await checks.check('the database user can read and write rows, and has no other rights', async () => {
    const [rights] = await database.query<Record<string, boolean>>(`
      SELECT pg_has_role('mlflow_iam', 'rds_iam', 'MEMBER') AS iam, has_schema_privilege('mlflow_iam', 'public', 'CREATE') AS creates,
             has_table_privilege('mlflow_iam', 'runs', 'INSERT') AS writes, has_table_privilege('mlflow_iam', 'runs', 'TRUNCATE') AS truncates,
             rolsuper OR rolcreaterole OR rolcreatedb AS powerful FROM pg_roles WHERE rolname = 'mlflow_iam'`);
    assert.deepEqual(rights, { iam: true, creates: false, writes: true, truncates: false, powerful: false });
  });
  await checks.check('the master user is not a member of rds_iam, because RDS would then reject the master password', async () => {
    const [{ member }] = await database.query<{ member: boolean }>('SELECT pg_has_role($1, \'mlflow_iam\', \'MEMBER\') AS member', [database.userName]);
    assert.equal(member, false);
  });
}

/** Changes of secrets while the task runs. */
async function checkChanges(checks: Checks, deployment: Deployment, token: string, python: string): Promise<void> {
  const { database, url } = deployment;
  await checks.check('the password of the master user can change while the task runs', async () => {
    await database.setPassword(database.userName, 'another');
    await sleep(3000); // longer than the lifetime of a connection
    const { failures } = await runSteadyJob(deployment, python, 3, clientSettings(deployment, token));
    await database.setPassword(database.userName, passwordOf(deployment));
    assert.deepEqual(failures, []);
  });
  await checks.check('a new OAuth secret ends no session; a new cookie secret ends all sessions', async () => {
    const cookie = await sessionCookie(url, 'someone@example.com');
    for (const [name, status] of [['OAUTH2_PROXY_CLIENT_SECRET', 200], ['OAUTH2_PROXY_COOKIE_SECRET', 403]] as const) {
      const answer = await deployment.withProxy({ [name]: 'x'.repeat(32) }, send => send('/', { headers: { cookie } }));
      assert.equal(answer.status, status, name);
    }
  });
}

async function runSteadyJob(
  deployment: Deployment, python: string, duration: number, env: Record<string, string>,
): Promise<{ readonly written: number; readonly failures: string[]; readonly slowest: number }> {
  const { stdout } = await runOutside(deployment, [python, `${import.meta.dirname}/steady_job.py`, String(duration)], { env });
  return JSON.parse(stdout.trim().split('\n').at(-1)!) as { written: number; failures: string[]; slowest: number };
}

/** The password of the master user. */
function passwordOf(deployment: Deployment): string {
  return deployment.container('prepare').env.PGPASSWORD;
}

/** The number of connections to the database since its start. */
async function made(deployment: Deployment): Promise<number> {
  const [{ sessions }] = await deployment.database.query<{ sessions: string }>('SELECT sessions FROM pg_stat_database WHERE datname = current_database()');
  return Number(sessions);
}
