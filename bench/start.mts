/** The start time of a task. */

import { setTimeout as sleep } from 'node:timers/promises';
import { median, rounded, type Options, type Table } from './table.mjs';
import type { Deployment } from '../local/deployment.mjs';
import { installPrograms, surround } from '../local/run.mjs';

/** Seconds from the begin of the start until … */
interface Times {
  readonly prepared: number;
  readonly answers: number;
  readonly healthy: number;
  readonly ready: number;
}

export async function measureStart({ quick }: Options): Promise<Table[]> {
  const deployment = await surround('examples/typescript/quick-start', await installPrograms());
  const measured: Record<string, Times[]> = { 'none, a first start': [], ...!quick && { there: [] } };
  for (let run = 0; run < (quick ? 1 : 3); run += 1) {
    await emptyDatabase(deployment);
    for (const times of Object.values(measured)) { // the first start creates the schema
      times.push(await start(deployment));
    }
  }
  await deployment.stop();
  return [{
    title: 'Start of a task, seconds, median of three',
    rows: Object.entries(measured).map(([schema, times]) => {
      const show = (moment: keyof Times) => rounded(median(times.map(time => time[moment])));
      return { schema, '`prepare` has ended': show('prepared'), 'MLflow answers': show('answers'), 'MLflow is healthy': show('healthy'), 'requests come': show('ready') };
    }),
  }];
}

async function emptyDatabase({ database }: Deployment): Promise<void> {
  await database.query(`DROP DATABASE "${database.name}" WITH (FORCE)`, [], 'postgres');
  await database.create(database.name);
}

async function start(deployment: Deployment): Promise<Times> {
  const plan = deployment.nextTask();
  const began = performance.now();
  const passed = () => (performance.now() - began) / 1000;
  const times = { prepared: 0, answers: 0, healthy: 0 };
  const answers = (async () => {
    while (!await fetch(`http://${plan.address}:${deployment.container('mlflow').env.MLFLOW_PORT}/health`).then(({ ok }) => ok, () => false)) {
      await sleep(50);
    }
    times.answers = passed();
  })();
  await deployment.startAdded(plan, status => {
    if (status === 'mlflow starts') {
      times.prepared = passed();
    } else if (status === 'mlflow is healthy') {
      times.healthy = passed();
    }
  });
  const ready = passed();
  await answers;
  await deployment.stopTask(plan);
  return { ...times, ready };
}
