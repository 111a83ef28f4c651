/** What the scheduled clean-up removes for good, and what it must leave. */

import assert from 'node:assert/strict';
import type { Checks } from './checks.mjs';
import { bearer, json, type Message, type Send } from '../clients/http.mjs';
import type { Deployment } from '../deployment.mjs';

const api = '/api/2.0/mlflow';
const files = '/api/2.0/mlflow-artifacts/artifacts';
const month = 31 * 86_400_000;

export async function checkCleanUp(checks: Checks, deployment: Deployment, send: Send, token: string): Promise<void> {
  const { database, s3, template } = deployment;

  const call = async <T extends object>(path: string, message: Message): Promise<T> => {
    const { status, body } = await send(path, { ...message, headers: { ...message.headers, ...bearer(token) } });
    assert.equal(status, 200, `${path}: ${body}`);
    return JSON.parse(body || '{}') as T;
  };
  const post = <T extends object>(path: string, value: unknown) => call<T>(api + path, json(value));
  const experiment = async (name: string) => (await post<{ experiment_id: string }>('/experiments/create', { name })).experiment_id;
  /** A run with two files, one in a folder. */
  const run = async (inExperiment: string): Promise<string> => {
    const { run: { info: { run_id } } } = await post<{ run: { info: { run_id: string } } }>('/runs/create', { experiment_id: inExperiment, start_time: Date.now() });
    await post('/runs/log-metric', { run_id, key: 'loss', value: 1, timestamp: Date.now() });
    for (const name of ['a.txt', 'folder/b.txt']) {
      await call(`${files}/${inExperiment}/${run_id}/artifacts/${name}`, { method: 'PUT', body: 'x' });
    }
    return run_id;
  };
  const loggedModel = async (inExperiment: string): Promise<string> => {
    const { model: { info: { model_id } } } = await post<{ model: { info: { model_id: string } } }>('/logged-models', { experiment_id: inExperiment, name: 'model' });
    await call(`${files}/${inExperiment}/models/${model_id}/artifacts/MLmodel`, { method: 'PUT', body: 'x' });
    return model_id;
  };
  const register = async (name: string, version: { readonly source: string; readonly run_id?: string; readonly model_id?: string }) => {
    await post('/registered-models/create', { name });
    await post('/model-versions/create', { name, ...version });
  };
  const deleteRun = (run_id: string) => post('/runs/delete', { run_id });
  // A deletion cannot be waited for: its time is moved in the database.
  const age = async (run_id: string) => void await database.query('UPDATE runs SET deleted_time = deleted_time - $1 WHERE run_uuid = $2', [month, run_id]);
  const ageExperiment = async (id: string) => {
    await database.query('UPDATE experiments SET last_update_time = last_update_time - $1 WHERE experiment_id = $2', [month, id]);
    await database.query('UPDATE runs SET deleted_time = deleted_time - $1 WHERE experiment_id = $2', [month, id]);
  };
  const inDatabase = async () => (await database.query<{ id: string }>(
    'SELECT run_uuid AS id FROM runs UNION SELECT model_id FROM logged_models UNION SELECT \'experiment \' || experiment_id FROM experiments')).map(({ id }) => id);
  const objectsOf = async (id: string) => (await s3.objects()).filter(({ key }) => key.includes(`/${id}/`)).length;
  const left = async () => [await inDatabase(), (await s3.objects()).map(({ key }) => key)].map(list => list.sort());

  checks.heading('The clean-up');
  const kept: Record<string, [id: string, objects: number]> = {};
  const gone: Record<string, [id: string, objects: number]> = {};
  await checks.check('has runs to choose from: old and young, live, restored, registered', async () => {
    const home = await experiment('clean-up');
    const of = { old: await run(home), young: await run(home), live: await run(home), restored: await run(home), registered: await run(home) };
    await register('needs its run', { source: `runs:/${of.registered}/folder`, run_id: of.registered });
    const [model, registeredModel] = [await loggedModel(home), await loggedModel(home)];
    await register('needs its model', { source: `models:/${registeredModel}`, model_id: registeredModel });
    for (const id of [model, registeredModel]) {
      await call(`${api}/logged-models/${id}`, { method: 'DELETE' });
      await database.query('UPDATE logged_models SET last_updated_timestamp_ms = last_updated_timestamp_ms - $1 WHERE model_id = $2', [month, id]);
    }
    gone['the old model'] = [model, 1];
    kept['the model that a registered one needs'] = [registeredModel, 1];
    for (const id of [of.old, of.young, of.restored, of.registered]) {
      await deleteRun(id);
    }
    await Promise.all([of.old, of.restored, of.registered].map(age));
    await post('/runs/restore', { run_id: of.restored });
    gone['the old run'] = [of.old, 2];
    kept['the young run'] = [of.young, 2];
    kept['the live run'] = [of.live, 2];
    kept['the restored run'] = [of.restored, 2];
    kept['the run that a registered model needs'] = [of.registered, 2];

    const empty = await experiment('deleted long ago');
    gone['a run of the deleted experiment'] = [await run(empty), 2];
    gone['a model of the deleted experiment'] = [await loggedModel(empty), 1];
    gone['the deleted experiment'] = [`experiment ${empty}`, 0];
    const half = await experiment('deleted long ago, but for one run');
    const survivor = await run(half);
    kept['the restored run of a deleted experiment'] = [survivor, 2];
    kept['its experiment'] = [`experiment ${half}`, 0];
    const recent = await experiment('deleted today');
    kept['a run of the experiment deleted today'] = [await run(recent), 2];
    for (const id of [empty, half, recent]) {
      await post('/experiments/delete', { experiment_id: id });
    }
    await Promise.all([empty, half].map(ageExperiment));
    await post('/runs/restore', { run_id: survivor });
    for (const [id, objects] of Object.values({ ...kept, ...gone })) {
      assert.equal(await objectsOf(id), objects, id);
    }
  });

  const { Target: { EcsParameters: { TaskDefinitionArn } } } = template.single<{ Target: { EcsParameters: { TaskDefinitionArn: string } } }>('AWS::Scheduler::Schedule');
  const { TaskRoleArn } = template.properties<{ TaskRoleArn: string }>(TaskDefinitionArn);
  const role = TaskRoleArn.split('/').at(-1)!;
  const policies = s3.policies(role);
  /** What `runScheduledTask` returned tells of one failure. */
  const refused = async (end: string, reason: RegExp) => {
    const [how, ...lines] = end.split('\n');
    assert.match(how, /exit code 1$/);
    const failures = lines.filter(line => line.includes('FAILED'));
    assert.equal(failures.length, 1, end);
    assert.match(failures[0], reason);
  };

  const before = await left();
  for (const action of ['s3:ListBucket', 's3:DeleteObject']) {
    await checks.check(`says in one line that its role lacks ${action}, and leaves the rows of what it could not remove`, async () => {
      await s3.setPolicies(role, Object.fromEntries(Object.entries(policies).map(([name, { Statement, ...rest }]) =>
        [name, { ...rest, Statement: Statement.filter(({ Action }) => Action !== action) }])));
      try {
        await refused(await deployment.runScheduledTask(), /^clean-up FAILED: .*AccessDenied/);
        assert.deepEqual(await left(), before);
      } finally {
        await s3.setPolicies(role, policies);
      }
    });
  }
  await checks.check('says in one line that the database refuses its password', async () => {
    await refused(await deployment.runScheduledTask({ PGPASSWORD: 'wrong' }), /^prepare .*FAILED: .*password authentication failed/);
    assert.deepEqual(await left(), before);
  });
  await checks.check('says in one line that the schema is not its own, and does not migrate it', async () => {
    const [{ version_num: current }] = await database.query<{ version_num: string }>('SELECT version_num FROM alembic_version');
    await database.query('UPDATE alembic_version SET version_num = $1', ['451aebb31d03']);
    try {
      await refused(await deployment.runScheduledTask(), /^clean-up FAILED: .*451aebb31d03/);
      assert.deepEqual(await database.query('SELECT version_num FROM alembic_version'), [{ version_num: '451aebb31d03' }]);
    } finally {
      await database.query('UPDATE alembic_version SET version_num = $1', [current]);
    }
    assert.deepEqual(await left(), before);
  });

  await checks.check('runs beside the service and says what it removed, though S3 takes longer than the database lets a session idle', async () => {
    await database.query(`ALTER ROLE ${database.userName} SET idle_session_timeout = '1s'`);
    await s3.fault({ delay: 1.5 });
    const started = Date.now();
    const end = await deployment.runScheduledTask();
    await s3.fault();
    await database.query(`ALTER ROLE ${database.userName} RESET idle_session_timeout`);
    assert.match(end, /exit code 0\n/);
    assert.match(end, /^clean-up removed 2 runs, 2 models, 1 experiments, 6 objects of 6 bytes; kept 2 that a registered model needs$/m);
    return `${((Date.now() - started) / 1000).toFixed(0)} s`;
  });
  for (const [what, [id]] of Object.entries(gone)) {
    await checks.check(`has removed ${what}, row and files`, async () => {
      assert(!(await inDatabase()).includes(id), 'the row is there');
      assert.equal(await objectsOf(id), 0);
    });
  }
  for (const [what, [id, objects]] of Object.entries(kept)) {
    await checks.check(`has left ${what}`, async () => {
      assert((await inDatabase()).includes(id), 'the row is gone');
      assert.equal(await objectsOf(id), objects);
    });
  }
  await checks.check('changes nothing the second time', async () => {
    const first = await left();
    const end = await deployment.runScheduledTask();
    assert.match(end, /^clean-up removed 0 runs, 0 models, 0 experiments, 0 objects of 0 bytes; kept 2 that a registered model needs$/m);
    assert.deepEqual(await left(), first);
  });
  await checks.check('has a role that finds and deletes, and can neither read nor destroy a version', async () => {
    const actions = Object.values(policies).flatMap(({ Statement }) => Statement).flatMap(({ Action }) => Action);
    assert.deepEqual(actions.sort(), ['s3:DeleteObject', 's3:ListBucket']);
  });
}
