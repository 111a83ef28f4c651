/** The running task, from outside and inside. */

import assert from 'node:assert/strict';
import { existsSync, readdirSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { statusOfSearch } from './api.mjs';
import type { Checks } from './checks.mjs';
import { bearer, type Send } from '../clients/http.mjs';
import type { Deployment } from '../deployment.mjs';
import { listeners, processesOf, read } from './proc.mjs';

export async function checkTask(checks: Checks, deployment: Deployment, send: Send, token: string): Promise<void> {
  const { database, s3, containers, task } = deployment;
  checks.heading('The task');
  await checks.check('has all objects below its folder of the bucket', async () => {
    assert((await s3.objects()).some(({ size }) => size === 200 * 1024 * 1024), 'the artifact of 200 MB is missing');
    return keepsToItsFolder(deployment);
  });
  await checks.check('has its schema in PostgreSQL', async () => {
    const [{ tables }] = await database.query<{ tables: number }>('SELECT count(*)::int AS tables FROM information_schema.tables WHERE table_schema = \'public\'');
    const [{ name }] = await database.query<{ name: string }>('SELECT name FROM registered_models');
    assert.equal(name, 'diabetes');
    return `${tables} tables`;
  });
  await checks.check('uses TLS with the database', async () => {
    const plain = await database.query('SELECT a.pid FROM pg_stat_activity a LEFT JOIN pg_stat_ssl s USING (pid) WHERE a.usename = $1 AND NOT s.ssl', [database.userName]);
    assert.deepEqual(plain, []);
  });
  const { MLFLOW_PORT: port, MLFLOW_HOST: host } = deployment.container('mlflow').env;
  await checks.check(`opens MLflow's port only on ${host}${deployment.verbatim ? '' : ', which stands in for its loopback'}`, async () => {
    const listening = listeners(task.pid('mlflow')).filter(socket => socket.port === Number(port));
    assert.deepEqual(listening.map(({ address }) => address), [host]);
  });
  if (existsSync('/proc/self/maps')) {
    await checks.check('serves with uvloop', async () => {
      const workers = processesOf(task.pid('mlflow')).filter(pid => read(`/proc/${pid}/maps`).includes('uvloop'));
      assert(workers.length >= 2, `${workers.length} processes have loaded it`);
    });
    await checks.check('has no secret in a command line', async () => {
      const secrets = containers.flatMap(({ definition, env }) => (definition.Secrets ?? []).map(({ Name }) => env[Name]));
      const lines = readdirSync('/proc').filter(name => /^\d+$/.test(name)).map(pid => read(`/proc/${pid}/cmdline`));
      assert(secrets.length >= 4 && lines.some(line => line.includes('mlflow')));
      assert.deepEqual(lines.filter(line => secrets.some(secret => line.includes(secret))), []);
    });
  }
  await checks.check('has no secret and no bearer token in its logs', async () => {
    const secrets = [token, ...containers.flatMap(({ definition, env }) => (definition.Secrets ?? []).map(({ Name }) => env[Name]))];
    for (const { definition: { Name } } of containers) {
      const log = deployment.log(Name);
      assert(log.length > 0, `${Name} has logged nothing`);
      assert(!secrets.some(secret => log.includes(secret)), `${Name} has logged a secret`);
    }
  });
  await checks.check('holds no database connection when idle, so that Aurora can pause', async () => {
    const timeout = Number(database.parameters.idle_session_timeout);
    const before = await database.connections();
    const started = Date.now();
    while (await database.connections() > 0) {
      assert(Date.now() - started < timeout + 30_000, `${await database.connections()} connections ${timeout / 1000} s after the last request`);
      await sleep(2000);
    }
    return `${before} connections, none ${Math.round((Date.now() - started) / 1000)} s later`;
  });
  await checks.check('connects again without an error', async () => {
    assert.equal(await statusOfSearch(send, bearer(token)), 200);
  });
}

export async function keepsToItsFolder({ s3 }: Deployment): Promise<string> {
  const objects = await s3.objects();
  assert(objects.length > 0, 'the bucket is empty');
  assert.deepEqual(objects.filter(({ key }) => !key.startsWith(`${s3.folder}/`)), []);
  return `${objects.length} objects below ${s3.folder}/`;
}

