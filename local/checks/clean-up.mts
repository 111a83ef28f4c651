/** What the scheduled clean-up removes permanently, and what it must keep. */

import assert from 'node:assert/strict';
import type { Checks } from './checks.mjs';
import { json, withToken, type Message, type Send } from '../clients/http.mjs';
import type { Deployment } from '../deployment.mjs';

const api = '/api/2.0/mlflow';
const files = '/api/2.0/mlflow-artifacts/artifacts';
const month = 31 * 86_400_000;

/** By a description for the output of the checks. */
type Things = Record<string, [id: string, objects: number]>;

interface Choice {
  /** What the clean-up must keep. */
  readonly kept: Things;
  /** What the clean-up must remove. */
  readonly gone: Things;
}

export async function checkCleanUp(checks: Checks, deployment: Deployment, send: Send, token: string): Promise<void> {
  const store = new Store(deployment, send, token);
  const choice: Choice = { kept: {}, gone: {} };

  checks.heading('The clean-up');
  await checks.check('has runs to choose from: old and young, live, restored, registered', async () => {
    await fillLiveExperiment(store, choice);
    await fillDeletedExperiments(store, choice);
    for (const [id, objects] of Object.values({ ...choice.kept, ...choice.gone })) {
      assert.equal(await store.objectsOf(id), objects, id);
    }
  });
  await checkFailures(checks, deployment, store);
  await checkRemoval(checks, deployment, store, choice);
  await checks.check('has a role that can list and delete objects, but cannot read objects or delete versions', async () => {
    const policies = Object.values(deployment.s3.policies(scheduledRole(deployment)));
    const actions = policies.flatMap(({ Statement }) => Statement).flatMap(({ Action }) => Action);
    assert.deepEqual(actions.sort(), ['s3:DeleteObject', 's3:ListBucket']);
  });
}

async function fillLiveExperiment(store: Store, { kept, gone }: Choice): Promise<void> {
  const home = await store.experiment('clean-up');
  const of = {
    old: await store.run(home),
    young: await store.run(home),
    live: await store.run(home),
    restored: await store.run(home),
    registered: await store.run(home),
  };
  await store.register('needs its run', { source: `runs:/${of.registered}/folder`, run_id: of.registered });
  const [model, registeredModel] = [await store.loggedModel(home), await store.loggedModel(home)];
  await store.register('needs its model', { source: `models:/${registeredModel}`, model_id: registeredModel });
  for (const id of [model, registeredModel]) {
    await store.deleteModelLongAgo(id);
  }
  gone['the old model'] = [model, 1];
  kept['the model that a registered one needs'] = [registeredModel, 1];
  for (const id of [of.old, of.young, of.restored, of.registered]) {
    await store.post('/runs/delete', { run_id: id });
  }
  await Promise.all([of.old, of.restored, of.registered].map(id => store.age(id)));
  await store.post('/runs/restore', { run_id: of.restored });
  gone['the old run'] = [of.old, 2];
  kept['the young run'] = [of.young, 2];
  kept['the live run'] = [of.live, 2];
  kept['the restored run'] = [of.restored, 2];
  kept['the run that a registered model needs'] = [of.registered, 2];
}

async function fillDeletedExperiments(store: Store, { kept, gone }: Choice): Promise<void> {
  const empty = await store.experiment('deleted long ago');
  gone['a run of the deleted experiment'] = [await store.run(empty), 2];
  gone['a model of the deleted experiment'] = [await store.loggedModel(empty), 1];
  gone['the deleted experiment'] = [`experiment ${empty}`, 0];
  const half = await store.experiment('deleted long ago, but for one run');
  const survivor = await store.run(half);
  kept['the restored run of a deleted experiment'] = [survivor, 2];
  kept['its experiment'] = [`experiment ${half}`, 0];
  const recent = await store.experiment('deleted today');
  kept['a run of the experiment deleted today'] = [await store.run(recent), 2];
  for (const id of [empty, half, recent]) {
    await store.post('/experiments/delete', { experiment_id: id });
  }
  await Promise.all([empty, half].map(id => store.ageExperiment(id)));
  await store.post('/runs/restore', { run_id: survivor });
}

/** After a failure, it logs the reason and has removed nothing. */
async function checkFailures(checks: Checks, deployment: Deployment, store: Store): Promise<void> {
  const { database, s3 } = deployment;
  const role = scheduledRole(deployment);
  const policies = s3.policies(role);
  const before = await store.contents();
  for (const action of ['s3:ListBucket', 's3:DeleteObject']) {
    await checks.check(`logs one line if its role lacks ${action}, and keeps the rows of objects that it could not remove`, async () => {
      await s3.setPolicies(role, Object.fromEntries(Object.entries(policies).map(([name, { Statement, ...rest }]) =>
        [name, { ...rest, Statement: Statement.filter(({ Action }) => Action !== action) }])));
      try {
        assertFailed(await deployment.runScheduledTask(), /^clean-up FAILED: .*AccessDenied/);
        assert.deepEqual(await store.contents(), before);
      } finally {
        await s3.setPolicies(role, policies);
      }
    });
  }
  await checks.check('logs one line if the database rejects its password', async () => {
    assertFailed(await deployment.runScheduledTask({ PGPASSWORD: 'wrong' }), /^prepare .*FAILED: .*password authentication failed/);
    assert.deepEqual(await store.contents(), before);
  });
  await checks.check('logs one line if the schema is of another MLflow, and does not migrate it', async () => {
    const [{ version_num: current }] = await database.query<{ version_num: string }>('SELECT version_num FROM alembic_version');
    await database.query('UPDATE alembic_version SET version_num = $1', ['451aebb31d03']);
    try {
      assertFailed(await deployment.runScheduledTask(), /^clean-up FAILED: .*451aebb31d03/);
      assert.deepEqual(await database.query('SELECT version_num FROM alembic_version'), [{ version_num: '451aebb31d03' }]);
    } finally {
      await database.query('UPDATE alembic_version SET version_num = $1', [current]);
    }
    assert.deepEqual(await store.contents(), before);
  });
}

async function checkRemoval(checks: Checks, deployment: Deployment, store: Store, { kept, gone }: Choice): Promise<void> {
  const { database, s3 } = deployment;
  await checks.check('runs at the same time as the service and logs what it removed, even if S3 needs longer than the database allows a session to idle', async () => {
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
      assert(!(await store.ids()).includes(id), 'the row is there');
      assert.equal(await store.objectsOf(id), 0);
    });
  }
  for (const [what, [id, objects]] of Object.entries(kept)) {
    await checks.check(`has kept ${what}`, async () => {
      assert((await store.ids()).includes(id), 'the row is gone');
      assert.equal(await store.objectsOf(id), objects);
    });
  }
  await checks.check('changes nothing the second time', async () => {
    const first = await store.contents();
    const end = await deployment.runScheduledTask();
    assert.match(end, /^clean-up removed 0 runs, 0 models, 0 experiments, 0 objects of 0 bytes; kept 2 that a registered model needs$/m);
    assert.deepEqual(await store.contents(), first);
  });
}

/** The role of the task that the schedule starts. */
function scheduledRole({ template }: Deployment): string {
  const { Target: { EcsParameters: { TaskDefinitionArn } } } = template.single<{ Target: { EcsParameters: { TaskDefinitionArn: string } } }>('AWS::Scheduler::Schedule');
  const { TaskRoleArn } = template.properties<{ TaskRoleArn: string }>(TaskDefinitionArn);
  return TaskRoleArn.split('/').at(-1)!;
}

/** Checks that the output of `runScheduledTask` has exactly one failure. */
function assertFailed(end: string, reason: RegExp): void {
  const [how, ...lines] = end.split('\n');
  assert.match(how, /exit code 1$/);
  const failures = lines.filter(line => line.includes('FAILED'));
  assert.equal(failures.length, 1, end);
  assert.match(failures[0], reason);
}

/** MLflow's rows and files. The checks cannot wait for a deletion to get old, so its time is changed in the database. */
class Store {
  constructor(private readonly deployment: Deployment, private readonly send: Send, private readonly token: string) {}

  async post<T extends object>(path: string, value: unknown): Promise<T> {
    return this.call<T>(api + path, json(value));
  }

  async experiment(name: string): Promise<string> {
    return (await this.post<{ experiment_id: string }>('/experiments/create', { name })).experiment_id;
  }

  /** A run with two files, one in a folder. */
  async run(experiment: string): Promise<string> {
    const { run: { info: { run_id } } } = await this.post<{ run: { info: { run_id: string } } }>('/runs/create', { experiment_id: experiment, start_time: Date.now() });
    await this.post('/runs/log-metric', { run_id, key: 'loss', value: 1, timestamp: Date.now() });
    for (const name of ['a.txt', 'folder/b.txt']) {
      await this.call(`${files}/${experiment}/${run_id}/artifacts/${name}`, { method: 'PUT', body: 'x' });
    }
    return run_id;
  }

  async loggedModel(experiment: string): Promise<string> {
    const { model: { info: { model_id } } } = await this.post<{ model: { info: { model_id: string } } }>('/logged-models', { experiment_id: experiment, name: 'model' });
    await this.call(`${files}/${experiment}/models/${model_id}/artifacts/MLmodel`, { method: 'PUT', body: 'x' });
    return model_id;
  }

  async register(name: string, version: { readonly source: string; readonly run_id?: string; readonly model_id?: string }): Promise<void> {
    await this.post('/registered-models/create', { name });
    await this.post('/model-versions/create', { name, ...version });
  }

  async deleteModelLongAgo(id: string): Promise<void> {
    await this.call(`${api}/logged-models/${id}`, { method: 'DELETE' });
    await this.deployment.database.query('UPDATE logged_models SET last_updated_timestamp_ms = last_updated_timestamp_ms - $1 WHERE model_id = $2', [month, id]);
  }

  async age(run: string): Promise<void> {
    await this.deployment.database.query('UPDATE runs SET deleted_time = deleted_time - $1 WHERE run_uuid = $2', [month, run]);
  }

  async ageExperiment(id: string): Promise<void> {
    await this.deployment.database.query('UPDATE experiments SET last_update_time = last_update_time - $1 WHERE experiment_id = $2', [month, id]);
    await this.deployment.database.query('UPDATE runs SET deleted_time = deleted_time - $1 WHERE experiment_id = $2', [month, id]);
  }

  /** The ids of the rows. */
  async ids(): Promise<string[]> {
    const rows = await this.deployment.database.query<{ id: string }>(
      'SELECT run_uuid AS id FROM runs UNION SELECT model_id FROM logged_models UNION SELECT \'experiment \' || experiment_id FROM experiments');
    return rows.map(({ id }) => id);
  }

  async objectsOf(id: string): Promise<number> {
    return (await this.keys()).filter(key => key.includes(`/${id}/`)).length;
  }

  /** All ids and keys, to compare them later. */
  async contents(): Promise<string[][]> {
    return [await this.ids(), await this.keys()].map(list => list.sort());
  }

  private async keys(): Promise<string[]> {
    return (await this.deployment.s3.objects()).map(({ key }) => key);
  }

  private async call<T extends object>(path: string, message: Message): Promise<T> {
    const { status, body } = await this.send(path, withToken(this.token, message));
    assert.equal(status, 200, `${path}: ${body}`);
    return JSON.parse(body || '{}') as T;
  }
}
