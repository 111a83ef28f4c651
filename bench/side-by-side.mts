/** What is measured of all servers while they run side by side. */

import { join } from 'node:path';
import { Listr } from 'listr2';
import { measureArtifacts } from './artifacts.mjs';
import { measureRequests, prepareTargets, touch } from './requests.mjs';
import { logQueries, measureMemory, measureRest, memoryTable } from './rest.mjs';
import { ours, startArticle, startBare, subject, type Server } from './servers.mjs';
import type { Options, Table } from './table.mjs';
import { folder, installPrograms, listr, surround } from '../local/run.mjs';

export async function measureSideBySide(options: Options): Promise<Table[]> {
  const programs = await installPrograms();
  const deployment = await surround('examples/typescript/quick-start', programs);
  const withGunicorn = await surround('local/apps/gunicorn-app.ts', programs, { folder: join(folder, 'gunicorn') });

  const servers: Server[] = [];
  const tables: Table[] = [];
  await new Listr([
    {
      title: 'Start the servers',
      task: async (_, task) => {
        await deployment.startTask(status => { task.output = status; });
        servers.push(await startBare(deployment, options), await startArticle(deployment, options));
        servers.push(await ours(subject, deployment, { task: deployment.task, url: deployment.proxyUrl }));
        const plan = withGunicorn.nextTask();
        await withGunicorn.startAdded(plan);
        const { clients: { bearer }, ...server } = await ours('with gunicornOpts', withGunicorn, plan);
        servers.push({ ...server, clients: { bearer } });
      },
    },
    {
      title: 'Small requests, then large artifacts, and the memory before and after',
      task: async () => {
        const before = measureMemory(servers);
        const targets = await prepareTargets(servers);
        tables.push(...await measureRequests(targets, options), await measureArtifacts(servers, options), memoryTable(servers, before));
        await logQueries(servers);
        await touch(targets);
      },
    },
    { title: 'Rest', task: async () => { tables.push(await measureRest(servers, options)); } },
    { title: 'Stop', task: () => Promise.all(servers.map(server => server.stop())) },
  ], listr).run();
  return tables;
}
