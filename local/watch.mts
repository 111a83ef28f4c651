/** `npm run try -- --watch`: applies changes of the sources while the deployment runs. */

import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { isDeepStrictEqual } from 'node:util';
import { watch } from 'chokidar';
import { Template } from './aws/template.mjs';
import type { Deployment } from './deployment.mjs';
import { root, showSubstitutions, synthesise } from './run.mjs';
import { packPrograms } from '../scripts/pack.mjs';

/** Prints the result of each change in one line. Never ends: after a failure it waits for the next change. */
export async function watchSources(deployment: Deployment, app: string): Promise<never> {
  const changed = new Set<string>();
  const watcher = watch(['src', 'containers', app], {
    cwd: root,
    ignoreInitial: true,
    ignored: (path, stats) => stats?.isFile() === true && !/\.(ts|py|html)$/.test(path), // for example the packed programs, which this function writes itself
  }).on('all', (_, path) => changed.add(path));
  await once(watcher, 'ready');
  console.log(`Changes in src/, containers/ and ${app} are applied.`);
  tellTheEnd(deployment);
  for (;;) {
    if (changed.size === 0) {
      await once(watcher, 'all');
    }
    await sleep(200); // editors and git write a file more than once
    const [first, ...others] = changed;
    changed.clear();
    process.stdout.write(`${first}${others.length > 0 ? ` and ${others.length} more` : ''} changed: `);
    await takeUp(deployment, app).then(console.log, ({ message }: Error) => console.log(`✗ ${message}\nWaiting for the next change.`));
  }
}

async function takeUp(deployment: Deployment, app: string): Promise<string> {
  const began = Date.now();
  const { substitutions: { table } } = deployment;
  packPrograms();
  if (!await deployment.update(Template.read(await synthesise(app)))) {
    return 'the task is unchanged';
  }
  tellTheEnd(deployment);
  if (!isDeepStrictEqual(deployment.substitutions.table, table)) {
    showSubstitutions(deployment);
  }
  return `task restarted in ${Math.round((Date.now() - began) / 1000)} s`;
}

function tellTheEnd({ task }: Deployment): void {
  void task.ended.then(reason => console.log(`✗ the task has stopped: ${reason}\nWaiting for the next change.`));
}
