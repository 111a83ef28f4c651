/** Measures all servers while they run at the same time. */

import { Listr } from 'listr2';
import { measureArtifacts } from './artifacts.mjs';
import { growthTable, measureGrowth } from './growth.mjs';
import { measurePage } from './page.mjs';
import { measureRequests, prepareTargets, touch } from './requests.mjs';
import { logQueries, measureMemory, measureRest, memoryTable } from './rest.mjs';
import { ours, startArticle, startBare, type Server } from './servers.mjs';
import { fillStore } from './store.mjs';
import type { Options, Table } from './table.mjs';
import { installPrograms, listr, surround } from '../local/run.mjs';

export async function measureSideBySide(options: Options): Promise<Table[]> {
  const programs = await installPrograms();
  const deployment = await surround('examples/typescript/quick-start', programs);

  const servers: Server[] = [];
  const tables: Table[] = [];
  await new Listr([
    {
      title: 'Start the servers',
      task: async (_, task) => {
        await deployment.startTask(status => { task.output = status; });
        servers.push(await startBare(deployment, options), await startArticle(deployment, options));
        servers.push(await ours(deployment));
      },
    },
    {
      title: 'Small requests, large artifacts, the page, a growing store, and the memory before and after',
      task: async () => {
        const before = measureMemory(servers);
        const [few, some, many] = options.quick ? [100, 100, 100] : [1000, 10_000, 100_000];
        await Promise.all(servers.map(server => fillStore(server, few)));
        const targets = await prepareTargets(servers);
        const growth = options.quick ? [] : await measureGrowth(targets, few, options);
        await Promise.all(servers.map(server => fillStore(server, some)));
        growth.push(...await measureGrowth(targets, some, options));
        tables.push(...await measureRequests(targets, options), await measureArtifacts(servers, options), ...await measurePage(servers, options));
        growth.push(...options.quick ? [] : await measureGrowth(targets, many, options));
        tables.push(growthTable(growth), memoryTable(servers, before));
        await logQueries(servers);
        await touch(targets);
      },
    },
    { title: 'Rest', task: async () => { tables.push(await measureRest(servers, options)); } },
    { title: 'Stop', task: () => Promise.all(servers.map(server => server.stop())) },
  ], listr).run();
  return tables;
}
