/** The server signs in to the database by IAM, with a token that changes every few seconds. */

import assert from 'node:assert/strict';
import { readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { execa } from 'execa';
import type { Checks } from './checks.mjs';
import { processesOf, read, residentMiB } from './processes.mjs';
import { clientSettings } from './programs.mjs';
import { parseUser } from '../aws/substitutions.mjs';
import { Person } from '../clients/person.mjs';
import type { Deployment } from '../deployment.mjs';

const seconds = 20;

export async function checkRotation(checks: Checks, deployment: Deployment, token: string, python: string): Promise<void> {
  const { database, task, url } = deployment;
  const tokens = deployment.databaseTokens!;
  const mlflow = deployment.container('mlflow');
  const file = mlflow.env.PGPASSFILE;
  const masterPassword = deployment.container('prepare').env.PGPASSWORD;

  checks.heading('The server signs in to the database with tokens');
  await checks.check(`${seconds} s of writing while the token changes every few seconds: no write fails`, async () => {
    const before = tokens.accepted;
    const connections = await made(deployment);
    const { stdout } = await execa(python, [`${import.meta.dirname}/steady_job.py`, String(seconds)], {
      env: clientSettings(deployment, token),
    });
    const { written, failures, slowest } = JSON.parse(stdout.trim().split('\n').at(-1)!) as { written: number; failures: string[]; slowest: number };
    const changes = tokens.accepted - before;
    const connected = await made(deployment) - connections;
    assert.deepEqual(failures, []);
    assert(written > 100 && changes >= seconds / 5 && connected > changes, `${written} written, ${changes} changes, ${connected} connections`);
    const busy = readFileSync(join(deployment.logs, 'oauth2-proxy.log'), 'utf8').match(/ 503 /g)?.length ?? 0;
    return `${written} writes, ${changes} tokens, ${connected} new connections, ${busy} × 503 that the client repeated, the slowest write ${slowest} s`;
  });
  await checks.check('every token was one that RDS takes: signed by the role of the task, for this user, host and port, not expired', async () => {
    assert.deepEqual(tokens.refusals, []);
    assert(tokens.accepted > 0);
  });
  await checks.check('a token that was changed, or that is for another user or host, is none', async () => {
    for (const [from, to] of [[/.$/, 'x'], ['DBUser=mlflow_iam', 'DBUser=mlflow'], ['localhost:', 'elsewhere:'], ['Action=connect', 'Action=else']] as const) {
      const { user, refusal } = await tokens.check(tokens.token.replace(from, to));
      assert.equal(user, undefined, `with ${to} it was taken`);
      assert(refusal);
    }
  });
  await checks.check('no secret of the database is in the environment of the server or of the side container', async () => {
    for (const name of ['mlflow', 'database-token']) {
      const { definition, env } = deployment.container(name);
      assert(!('PGPASSWORD' in env) && !JSON.stringify(env).includes(masterPassword) && !definition.Secrets?.some(({ Name }) => Name.startsWith('PG')), name);
      const environments = processesOf(task.pid(name)).map(pid => read(`/proc/${pid}/environ`)).filter(Boolean);
      assert(environments.length > 0 && environments.every(text => !text.includes(masterPassword) && !text.includes('PGPASSWORD')), name);
    }
    assert(masterPassword.length > 0);
  });
  await checks.check('the file belongs to the server\'s user, and nobody else can read it', async () => {
    const { mode, uid } = statSync(file);
    assert.equal(mode.toString(8), '100600'); // a plain file, 0600
    assert.equal(uid, deployment.container('database-token').user?.uid ?? process.getuid!());
    assert.deepEqual(parseUser(mlflow.definition.User), parseUser(deployment.container('database-token').definition.User));
  });
  await checks.check('no token is in a log', async () => {
    for (const name of ['database-token', 'mlflow', 'prepare']) {
      assert(!readFileSync(join(deployment.logs, `${name}.log`), 'utf8').includes('X-Amz-Signature'), name);
    }
  });
  await checks.check('that user reads and writes rows and can do no more', async () => {
    const [rights] = await database.query<Record<string, boolean>>(`
      SELECT pg_has_role('mlflow_iam', 'rds_iam', 'MEMBER') AS iam, has_schema_privilege('mlflow_iam', 'public', 'CREATE') AS creates,
             has_table_privilege('mlflow_iam', 'runs', 'INSERT') AS writes, has_table_privilege('mlflow_iam', 'runs', 'TRUNCATE') AS truncates,
             rolsuper OR rolcreaterole OR rolcreatedb AS powerful FROM pg_roles WHERE rolname = 'mlflow_iam'`);
    assert.deepEqual(rights, { iam: true, creates: false, writes: true, truncates: false, powerful: false });
  });
  await checks.check('the master user is no member of it: else RDS would take no password from it any more', async () => {
    const [{ member }] = await database.query<{ member: boolean }>('SELECT pg_has_role($1, \'mlflow_iam\', \'MEMBER\') AS member', [database.userName]);
    assert.equal(member, false);
  });
  await checks.check('the password of the master user may change while the task runs', async () => {
    await database.setPassword(database.userName, 'another');
    await sleep(3000); // longer than any connection lives
    const { stdout } = await execa(python, [`${import.meta.dirname}/steady_job.py`, '3'], {
      env: clientSettings(deployment, token),
    });
    await database.setPassword(database.userName, masterPassword);
    assert.deepEqual((JSON.parse(stdout.trim().split('\n').at(-1)!) as { failures: string[] }).failures, []);
  });
  await checks.check('a new OAuth secret ends no session, a new cookie secret ends them all', async () => {
    const person = await Person.meet('someone@example.com');
    await person.open(url);
    const { cookies } = await person.http.storageState();
    await person.leave();
    const cookie = cookies.filter(({ name }) => name.startsWith('__Host-')).map(({ name, value }) => `${name}=${value}`).join('; ');
    for (const [name, status] of [['OAUTH2_PROXY_CLIENT_SECRET', 200], ['OAUTH2_PROXY_COOKIE_SECRET', 403]] as const) {
      const proxy = await deployment.startProxy({ [name]: 'x'.repeat(32) });
      try {
        assert.equal((await proxy.send('/', { headers: { cookie } })).status, status, name);
      } finally {
        await proxy.stop();
      }
    }
  });
  await checks.check('a side container that dies ends the task, which says why', async () => {
    const memory = residentMiB(task.pid('database-token'));
    process.kill(task.pid('database-token'), 'SIGKILL');
    const reason = await task.ended;
    assert.match(reason, /^essential container database-token ended: SIGKILL/);
    return `${reason.split('\n')[0]}; it took ${memory} MiB`;
  });
}

/** Connections that have been made to the database so far. */
async function made(deployment: Deployment): Promise<number> {
  const [{ sessions }] = await deployment.database.query<{ sessions: string }>('SELECT sessions FROM pg_stat_database WHERE datname = current_database()');
  return Number(sessions);
}
