/** The database of an older MLflow under a newer one: what the first step of a task changes, and what it refuses. */

import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { execa } from 'execa';
import type { Checks } from './checks.mjs';
import { pack, unpack } from '../../scripts/pack.mjs';
import { Task, type Container } from '../aws/ecs.mjs';
import type { Program } from '../aws/substitutions.mjs';
import { personToken } from '../clients/tokens.mjs';
import type { Deployment } from '../deployment.mjs';
import { freePort, type Running } from '../processes.mjs';
import { outcomeOf, type Outcome, type TaskPlace } from '../worlds/world.mjs';

export interface UpgradeOptions {
  /** A deployment without a running task. */
  readonly deployment: Deployment;
  readonly python: string;
  /** The image of the older MLflow. */
  readonly oldImage: Program;
}

const made = ['experiment, run, files and model', 'model version and alias', 'trace', 'deleted run'];
const storeProgram = join(import.meta.dirname, 'store.py');
const patience = { MLFLOW_HTTP_REQUEST_MAX_RETRIES: '2' };
const found = [
  'parameters, metrics and tags',
  'files, byte for byte',
  'model version and alias, and the model predicts',
  'trace',
  'deleted run, and restore it',
  'write: a new run, the old run, a new version of the model',
];

/** The MLflow that has created the database. */
interface OldMlflow {
  readonly version: string;
  readonly image: Program;
}

type Change = (container: Container) => Container;

export async function checkUpgrades(checks: Checks, { deployment, python, oldImage }: UpgradeOptions): Promise<void> {
  const { database } = deployment;
  const { stdout: version } = await execa('python', ['-c', 'import importlib.metadata; print(importlib.metadata.version("mlflow-skinny"))'], { env: { PATH: oldImage.path } });
  const old = { version, image: oldImage };

  checks.heading(`A database of MLflow ${version}`);
  const oldRevision = await checkOldStore(checks, deployment, old);
  for (const copy of ['old_pair', 'old_killed', 'old_refused']) {
    await database.create(copy, database.name);
  }

  checks.heading('The synthesised task with that database');
  await checkMigration(checks, deployment, python);
  const newRevision = await revision(deployment, database.name);

  checks.heading('The indexes of the runs');
  await checkIndexes(checks, deployment, python);

  checks.heading('Two tasks that start at the same time');
  await checks.check('both start with an empty database, and one migrates it', async () => {
    await database.create('empty_pair');
    return startTwo(deployment, 'empty_pair', newRevision);
  });
  await checks.check(`both start with the database of ${version}, and one migrates it`, () => startTwo(deployment, 'old_pair', newRevision));
  await checks.check('docs/copy-store.py copies all data of a database into an empty one', () => copyStore(deployment, python, 'empty_pair'));

  checks.heading('A task that is stopped');
  await checkStopped(checks, deployment, oldRevision, newRevision);

  checks.heading('A task that cannot start logs the reason in one line');
  await checkRefusedStores(checks, deployment, old, oldRevision);
  await checkRefusedSurroundings(checks, deployment);
  await checks.check(`without prepare, MLflow ${version} itself refuses the migrated database`, () => oldServerRefuses(deployment, old));
}

/** Returns the revision of its schema. */
async function checkOldStore(checks: Checks, deployment: Deployment, old: OldMlflow): Promise<string> {
  const { database: { name } } = deployment;
  let oldRevision = '';
  await checks.check(`is created by the task with MLflow ${old.version}: ${made.join(', ')}`, async () => {
    const { containers, place, logs } = deployment.nextTask();
    const [prepare, mlflow] = ['prepare', 'mlflow'].map(container => asOld(containers.find(({ definition }) => definition.Name === container)!, old));
    // `mlflow db upgrade` of that version needs tables, which the server creates.
    const task = new Task([withEnvironment(prepare, { PREPARE_SCHEMA: 'leave' }), mlflow], place, logs);
    const started = Date.now();
    try {
      await task.start(() => undefined);
      const healthy = Date.now();
      const client = ['python', '-c', readFileSync(storeProgram, 'utf8'), 'make'];
      const steps = stepsOf(await place.run(mlflow, client, 120, { MLFLOW_TRACKING_URI: `http://${mlflow.env.MLFLOW_HOST}:${mlflow.env.MLFLOW_PORT}`, ...patience }));
      assert.deepEqual(steps.done, made, steps.error);
      oldRevision = await revision(deployment, name);
      return `${await tables(deployment, name)} tables, revision ${oldRevision}; task healthy after ${seconds(started, healthy)}`;
    } finally {
      await task.stop();
    }
  });
  return oldRevision;
}

async function checkMigration(checks: Checks, deployment: Deployment, python: string): Promise<void> {
  const { database: { name }, url, caFile } = deployment;
  const started = Date.now();
  let up = false;
  await checks.check('migrates it and starts', async () => {
    await deployment.startTask(() => undefined);
    up = true;
    assert.match(deployment.log('prepare'), /^prepare schema upgraded to revision /m);
    return `task healthy after ${seconds(started)}, ${await tables(deployment, name)} tables, revision ${await revision(deployment, name)}`;
  });
  if (up) {
    const token = await personToken(deployment.issuer.issuer, deployment.clients, 'someone@example.com');
    const env = { MLFLOW_TRACKING_URI: url, MLFLOW_TRACKING_TOKEN: token, MLFLOW_TRACKING_SERVER_CERT_PATH: caFile, ...patience };
    const steps = stepsOf(await outcomeOf(deployment.outside([python, storeProgram, 'read']), 120, { env }));
    for (const step of found) {
      await checks.check(`the new client finds: ${step}`, async () => {
        assert(steps.done.includes(step), step === found[steps.done.length] ? steps.error : 'not reached');
      });
    }
  }
}

async function checkIndexes(checks: Checks, deployment: Deployment, python: string): Promise<void> {
  const { database } = deployment;
  const store = 'indexed';
  const ours = ['secure_mlflow_runs_by_experiment', 'secure_mlflow_runs_by_start'];
  const indexes = async () => (await database.query<{ name: string; valid: boolean }>(
    'SELECT relname AS name, indisvalid AS valid FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid WHERE indrelid = \'runs\'::regclass AND NOT indisprimary ORDER BY 1', [], store,
  )).map(({ name, valid }) => `${name}${valid ? '' : ', invalid'}`);
  const prepared = async () => {
    const next = await start(deployment, prepare => withoutDoor(on(store, prepare)));
    assert.equal(await next.end(), 0, next.log);
    return indexes();
  };
  await checks.check('are created for a database without them', async () => {
    await database.create(store);
    assert.deepEqual(await prepared(), ours);
  });
  await checks.check('are used by PostgreSQL to find the runs of an experiment, in the orders of MLflow and of its page', async () => {
    await database.query('INSERT INTO experiments (experiment_id, name, lifecycle_stage) SELECT i, i, \'active\' FROM generate_series(1, 10) i', [], store);
    await database.query(`INSERT INTO runs (run_uuid, experiment_id, user_id, start_time, status, lifecycle_stage)
      SELECT md5(i::text), 1 + i % 10, 'someone', i, 'FINISHED', 'active' FROM generate_series(1, 20000) i`, [], store);
    await database.query('ANALYZE runs', [], store);
    const prepare = forOperator(deployment);
    const { stdout } = await execa(python, [join(import.meta.dirname, 'plans.py'), addressOf(store, prepare)], { env: prepare.env });
    assert.deepEqual(stdout.split('\n').map(line => JSON.parse(line) as unknown), [{ search: 'its own', indexes: [ours[0]] }, { search: 'by start', indexes: [ours[1]] }]);
  });
  await checks.check('are created again after an interrupted build', async () => {
    await database.query('UPDATE pg_index SET indisvalid = false WHERE indexrelid = $1::regclass', [ours[0]], store);
    assert.deepEqual(await indexes(), [`${ours[0]}, invalid`, ours[1]]);
    assert.deepEqual(await prepared(), ours);
  });
  await checks.check('are removed when MLflow has its own', async () => {
    await database.query('CREATE INDEX index_runs_experiment_id ON runs (experiment_id)', [], store);
    assert.deepEqual(await prepared(), ['index_runs_experiment_id']);
  });
}

async function startTwo(deployment: Deployment, store: string, newRevision: string): Promise<string> {
  const both = await Promise.all([1, 2].map(() => start(deployment, prepare => on(store, prepare))));
  const ends = await Promise.all(both.map(each => each.end()));
  assert.deepEqual(ends, [0, 0], both.map(each => each.log).join('\n'));
  const logs = both.map(each => each.log);
  assert.equal(logs.filter(log => log.includes(`schema upgraded to revision ${newRevision}`)).length, 1, logs.join('\n'));
  assert.equal(logs.filter(log => log.includes('another task is migrating') && log.includes(`schema is up to date, revision ${newRevision}`)).length, 1, logs.join('\n'));
  return both.map(each => each.duration).join(' and ');
}

async function copyStore(deployment: Deployment, python: string, to: string): Promise<string> {
  const { database } = deployment;
  const prepare = forOperator(deployment);
  const program = join(import.meta.dirname, '..', '..', 'docs', 'copy-store.py');
  const { stdout } = await execa(python, [program, addressOf(database.name, prepare), addressOf(to, prepare)], { env: prepare.env });
  const copied = stdout.split('\n').map(line => line.split(':')[0]);
  assert(['runs', 'metrics', 'model_versions', 'spans'].every(table => copied.includes(table)), stdout);
  const contents = (store: string) => Promise.all(copied.map(table => database.query(`SELECT md5(string_agg(t::text, ' ' ORDER BY t::text)) FROM ${table} t`, [], store)));
  assert.deepEqual(await contents(to), await contents(database.name));
  return `${copied.length} tables`;
}

async function checkStopped(checks: Checks, deployment: Deployment, oldRevision: string, newRevision: string): Promise<void> {
  const { database } = deployment;
  const store = 'old_killed';
  const first = await start(deployment, prepare => on(store, prepare));
  await first.says('upgrading the schema');
  await checks.check('while it waits for the migration of another ends immediately, with a line', async () => {
    const second = await start(deployment, prepare => withoutDoor(on(store, prepare))); // without the door, because its check would take longer than the migration
    await second.says('another task is migrating, waiting for it');
    const asked = Date.now();
    second.signal('SIGTERM');
    assert.equal(await second.end(), 1, second.log);
    assert.match(second.lastLine, /FAILED: stopped by SIGTERM$/);
    assert(Date.now() - asked < 1500, seconds(asked));
    return seconds(asked);
  });
  await checks.check('with SIGKILL during its migration leaves the database unchanged', async () => {
    const writing = 'SELECT 1 FROM pg_stat_activity WHERE datname = $1 AND backend_xid IS NOT NULL';
    while ((await database.query(writing, [store])).length === 0) {
      assert(first.running, first.log);
      await sleep(10);
    }
    first.signal('SIGKILL');
    await first.end();
    while ((await database.query(writing, [store])).length > 0) {
      await sleep(10);
    }
    assert.equal(await revision(deployment, store), oldRevision);
    assert.doesNotMatch(first.log, /schema upgraded/);
  });
  await checks.check('is followed by a task that migrates', async () => {
    const next = await start(deployment, prepare => on(store, prepare));
    assert.equal(await next.end(), 0, next.log);
    assert.equal(await revision(deployment, store), newRevision);
    return next.duration;
  });
}

async function checkRefusedStores(checks: Checks, deployment: Deployment, old: OldMlflow, oldRevision: string): Promise<void> {
  const { database } = deployment;
  const unknown = new RegExp(`FAILED: MLflow ${old.version} cannot be guarded, only 3\\.17\\.x: `);
  await refuses(checks, deployment, `MLflow ${old.version}, which the inner door does not know`, unknown, prepare => withImage(on('old_refused', prepare), old));
  await checks.check('and leaves the database unchanged', async () => assert.equal(await revision(deployment, 'old_refused'), oldRevision));
  const newer = /FAILED: the schema of the database is newer than this MLflow: deploy the newer image again, or restore /;
  await refuses(checks, deployment, `MLflow ${old.version} with the migrated database`, newer, prepare => asOld(prepare, old));
  await database.create('newer', 'empty_pair');
  await database.query('UPDATE alembic_version SET version_num = \'ffffffffffff\'', [], 'newer');
  await refuses(checks, deployment, 'a revision that this MLflow does not know', newer, prepare => on('newer', prepare));
}

async function checkRefusedSurroundings(checks: Checks, deployment: Deployment): Promise<void> {
  const password = /FAILED: cannot connect to the database: .*password authentication failed for user/;
  await refuses(checks, deployment, 'a wrong password', password, prepare => withEnvironment(prepare, { PGPASSWORD: 'wrong' }));
  const bundle = /FAILED: cannot get the CA bundle of the database from https?:\S+ .*: HTTP Error 404/;
  await refuses(checks, deployment, 'no CA bundle', bundle, prepare => {
    const [interpreter, option, program, ...inputs] = prepare.command;
    return {
      ...withEnvironment(prepare, { PREPARE_CA_BUNDLE_URL: new URL('/none.pem', prepare.env.PREPARE_CA_BUNDLE_URL).href }),
      command: [interpreter, option, `import time; time.sleep = lambda _: None\n${program}`, ...inputs], // skips 30 s of waiting between the attempts
    };
  });
}

async function refuses(checks: Checks, deployment: Deployment, title: string, reason: RegExp, change: Change): Promise<void> {
  await checks.check(title, async () => {
    const attempt = await start(deployment, change);
    assert.equal(await attempt.end(), 1, attempt.log);
    assert.match(attempt.lastLine, reason, attempt.log);
    assert.doesNotMatch(attempt.log, /Traceback/);
    assert(attempt.log.trimEnd().split('\n').every(line => line.startsWith('prepare ')), attempt.log);
    return attempt.duration;
  });
}

/** Starts the old server in the place of the first task, whose `prepare` has run. */
async function oldServerRefuses(deployment: Deployment, old: OldMlflow): Promise<string> {
  const mlflow = asOld(deployment.container('mlflow'), old);
  const server = new Start(deployment.place, withEnvironment(mlflow, { MLFLOW_PORT: String(await freePort()) }), join(deployment.logs, 'old-server.log'));
  assert.notEqual(await server.end(), 0);
  const [words] = /Detected out-of-date database schema \(found version \w+, but expected \w+\)/.exec(server.log) ?? [];
  assert(words, server.log);
  return `${words}, ${server.duration}`;
}

async function revision({ database }: Deployment, store: string): Promise<string> {
  const [row] = await database.query<{ version_num: string }>('SELECT version_num FROM alembic_version', [], store);
  return row.version_num;
}

async function tables({ database }: Deployment, store: string): Promise<number> {
  const [row] = await database.query<{ tables: number }>('SELECT count(*)::int AS tables FROM information_schema.tables WHERE table_schema = \'public\'', [], store);
  return row.tables;
}

/** The finished steps of store.py, and the reason why it stopped. */
function stepsOf({ stdout, stderr }: Outcome): { done: string[]; error: string } {
  const done = stdout.split('\n').filter(line => line.startsWith('{')).map(line => (JSON.parse(line) as { step: string }).step);
  return { done, error: stderr.trimEnd().split('\n').slice(-12).join('\n') };
}

/** The environment of `prepare` for a program of an operator, with the files of the first task. */
function forOperator(deployment: Deployment): Container {
  const prepare = deployment.container('prepare');
  return withEnvironment(prepare, { PGSSLROOTCERT: deployment.onDisk('prepare', prepare.env.PGSSLROOTCERT) });
}

/** Starts `prepare` in a separate place. */
async function start(deployment: Deployment, change: Change): Promise<Start> {
  const { containers, place, logs } = deployment.nextTask();
  await place.open();
  return new Start(place, change(containers.find(({ definition }) => definition.Name === 'prepare')!), join(logs, 'prepare.log'));
}

/** One run of a container, outside a task. */
class Start {
  private readonly daemon: Running;
  private readonly started = Date.now();
  private ended = 0;

  constructor(private readonly place: TaskPlace, container: Container, private readonly file: string) {
    this.daemon = place.start(container, file);
  }

  get running(): boolean {
    return this.daemon.running;
  }

  get log(): string {
    return existsSync(this.file) ? readFileSync(this.file, 'utf8') : '';
  }

  get lastLine(): string {
    return this.daemon.lastLines(1);
  }

  get duration(): string {
    return seconds(this.started, this.ended);
  }

  /** The exit code; undefined if a signal has ended it. */
  async end(): Promise<number | undefined> {
    const { code } = await this.daemon.exited;
    this.ended = Date.now();
    await this.place.close();
    return code;
  }

  async says(text: string): Promise<void> {
    while (!this.log.includes(text)) {
      assert(this.running, this.log);
      await sleep(50);
    }
  }

  signal(signal: NodeJS.Signals): void {
    process.kill(this.daemon.pid, signal);
  }
}

function withEnvironment(container: Container, changes: Record<string, string>): Container {
  return { ...container, env: { ...container.env, ...changes } };
}

/** The container with another database. */
function on(store: string, container: Container): Container {
  return withEnvironment(container, { MLFLOW_BACKEND_STORE_URI: addressOf(store, container) });
}

function addressOf(store: string, { env }: Container): string {
  return env.MLFLOW_BACKEND_STORE_URI.replace(/\/\w+\?/, `/${store}?`);
}

function withImage(container: Container, { image: { image, path } }: OldMlflow): Container {
  return withEnvironment({ ...container, definition: { ...container.definition, Image: `${image}:` } }, { PATH: path });
}

/** Also without the inner door, which refuses an old MLflow. */
function asOld(container: Container, old: OldMlflow): Container {
  return withoutDoor(withImage(container, old));
}

/** The server without the inner door, and `prepare` with an empty one, which accepts every MLflow. */
function withoutDoor({ command, env: { PYTHONPATH: _, MLFLOW_GUNICORN_OPTS: __, ...env }, ...container }: Container): Container {
  const [interpreter, option, program, programs] = command;
  return {
    ...container,
    env,
    command: interpreter === 'mlflow' ? ['mlflow', 'server'] : [interpreter, option, program, pack({ ...unpack(programs), 'secure_mlflow/__init__.py': '' })],
  };
}

function seconds(from: number, to = Date.now()): string {
  return `${((to - from) / 1000).toFixed(1)} s`;
}
