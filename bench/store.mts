/** Stored runs, as many as a team has after some time. They are written with SQL into MLflow's tables. */

import type { Server } from './servers.mjs';

/** The largest number of runs in an experiment. */
const together = 1000;

/** Adds runs until there are that many, each with ten metrics, five parameters and two tags. */
export async function fillStore({ deployment: { database: { query }, database }, database: name }: Server, runs: number): Promise<void> {
  const ask = (sql: string) => query.call(database, sql, [], name);
  const missing = `(SELECT n, md5('stored ' || n) AS run FROM generate_series(1, ${runs}) AS n WHERE md5('stored ' || n) NOT IN (SELECT run_uuid FROM runs)) AS missing`;
  const inserts = [
    `INSERT INTO experiments (name, artifact_location, lifecycle_stage, creation_time, last_update_time)
     SELECT 'stored ' || n, 'mlflow-artifacts:/stored/' || n, 'active', 1, 1 FROM generate_series(0, ${Math.ceil(runs / together) - 1}) AS n ON CONFLICT DO NOTHING`,
    `CREATE TEMPORARY TABLE missing AS SELECT * FROM ${missing}`,
    `INSERT INTO runs (run_uuid, name, source_type, source_name, entry_point_name, user_id, status, start_time, end_time, source_version, lifecycle_stage, artifact_uri, experiment_id)
     SELECT run, 'run ' || n, 'LOCAL', 'train.py', '', 'someone', 'FINISHED', 1700000000000 + n * 1000, 1700000000500 + n * 1000, '', 'active',
       'mlflow-artifacts:/stored/' || run || '/artifacts', experiment_id
     FROM missing JOIN experiments ON experiments.name = 'stored ' || (n - 1) / ${together}`,
    ...['metrics', 'latest_metrics'].map(table => `INSERT INTO ${table} (run_uuid, key, value, timestamp, step, is_nan)
     SELECT run, 'metric ' || k, n % 97 + k, 1700000000000 + n * 1000, 1, false FROM missing, generate_series(1, 10) AS k`),
    "INSERT INTO params (run_uuid, key, value) SELECT run, 'param ' || k, (n % 7)::text FROM missing, generate_series(1, 5) AS k",
    `INSERT INTO tags (run_uuid, key, value)
     SELECT run, key, value FROM missing, LATERAL (VALUES ('mlflow.runName', 'run ' || n), ('mlflow.user', 'someone')) AS tag (key, value)`,
  ];
  // Without the checks of foreign keys, one for each row.
  await ask(`SET session_replication_role = replica; ${inserts.join(';\n')}`);
  await ask('VACUUM (ANALYZE) experiments, runs, metrics, latest_metrics, params, tags'); // otherwise autovacuum could run during a measurement
}

/** An experiment with the largest number of runs. */
export async function someExperiment({ deployment: { database }, database: name }: Server): Promise<string> {
  const [{ id }] = await database.query<{ id: number }>("SELECT experiment_id AS id FROM experiments WHERE name = 'stored 0'", [], name);
  return String(id);
}

/** A run of that experiment. */
export async function someRun({ deployment: { database }, database: name }: Server): Promise<string> {
  const [{ run }] = await database.query<{ run: string }>("SELECT md5('stored 1') AS run", [], name);
  return run;
}
