/** What is measured of all servers while they run side by side. */

import { measureArtifacts } from './artifacts.mjs';
import { measureRequests, prepareTargets, touch } from './requests.mjs';
import { logQueries, measureMemory, measureRest, memoryTable } from './rest.mjs';
import { startServers } from './servers.mjs';
import type { Options, Table } from './table.mjs';
import { deploy, installPrograms } from '../local/run.mjs';

export async function measureSideBySide(options: Options): Promise<Table[]> {
  const deployment = await deploy('examples/typescript/quick-start', await installPrograms());
  const servers = await startServers(deployment);
  const before = measureMemory(servers);
  const targets = await prepareTargets(servers);
  const requests = await measureRequests(targets, options);
  const artifacts = await measureArtifacts(deployment, servers, options);
  const memory = memoryTable(servers, before);
  await logQueries(deployment);
  await touch(targets);
  const rest = await measureRest(deployment, servers, options);
  for (const server of servers.reverse()) { // the deployment last, which has the database
    await server.stop();
  }
  return [...requests, artifacts, memory, rest];
}
