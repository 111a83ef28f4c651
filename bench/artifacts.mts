/** The speed of large artifacts through the servers, and of the stand-in for S3 without them. */

import { request } from 'node:http';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { execa } from 'execa';
import { why, type Server } from './servers.mjs';
import { rounded, type Options, type Table } from './table.mjs';
import type { Deployment } from '../local/deployment.mjs';
import { python } from '../local/run.mjs';

const MiB = 2 ** 20;
const ways = ['upload', 'download'] as const;
type Way = typeof ways[number];

/** Measures uploads and downloads, with a bearer token if the server needs one. */
export async function measureArtifacts(servers: Server[], { quick }: Options): Promise<Table> {
  const transfers = quick
    ? [{ size: 9 * MiB, count: 2 }]
    : [{ size: 100 * MiB, count: 1 }, { size: 100 * MiB, count: 16 }, { size: 1024 * MiB, count: 1 }];
  const rows: Table['rows'] = [];
  for (const { size, count } of transfers) {
    const speed = (seconds: number) => rounded(size * count / MiB / seconds);
    const row: Record<Way, Record<string, string | number>> = { upload: {}, download: {} };
    for (const server of servers) {
      for (const way of ways) {
        const began = performance.now();
        const failures = (await Promise.all(Array.from({ length: count }, (_, index) => transfer(server, way, `${size}-${index}`, size)))).filter(Boolean);
        row[way][server.name] = failures.length > 0 ? `${failures.length} failed: ${failures[0]}` : speed((performance.now() - began) / 1000);
      }
    }
    const alone = await withoutServer(servers[0].deployment, size, count);
    rows.push(...ways.map(way => ({
      'artifact': `${way} of ${size / MiB} MiB`, 'at once': count, ...row[way], 'S3 here, no server': speed(alone[way]), 'why': why(servers, row[way]),
    })));
  }
  return { title: 'Large artifacts, MiB a second', rows };
}

/** Returns the reason of a failure. */
async function transfer({ url, clients }: Server, way: Way, name: string, size: number): Promise<string | undefined> {
  const address = `${url}/api/2.0/mlflow-artifacts/artifacts/large/${name}`;
  const headers = { ...clients.bearer, ...way === 'upload' && { 'content-length': String(size) } };
  return new Promise(resolve => {
    const message = request(address, { method: way === 'upload' ? 'PUT' : 'GET', headers, agent: false }, async response => {
      let received = 0;
      for await (const chunk of response) {
        received += (chunk as Buffer).length;
      }
      resolve(response.statusCode !== 200 ? `status ${response.statusCode}` : way === 'download' && received !== size ? `${received} bytes` : undefined);
    });
    message.on('error', (error: NodeJS.ErrnoException) => resolve(error.code ?? error.message));
    if (way === 'upload') {
      void pipeline(Readable.from(blocks(size)), message).catch(() => undefined); // the answer has the reason
    } else {
      message.end();
    }
  });
}

function* blocks(size: number): Generator<Buffer> {
  const block = Buffer.alloc(MiB);
  for (let sent = 0; sent < size; sent += block.length) {
    yield block;
  }
}

/** Transfers files with boto3 from the same Python, as MLflow's code does. */
async function withoutServer(deployment: Deployment, size: number, count: number): Promise<Record<Way, number>> {
  const { PATH, TMPDIR, AWS_DEFAULT_REGION, AWS_CONTAINER_CREDENTIALS_FULL_URI, AWS_ENDPOINT_URL_S3, MLFLOW_ARTIFACTS_DESTINATION } = deployment.container('mlflow').env;
  const { host, pathname } = new URL(MLFLOW_ARTIFACTS_DESTINATION);
  const { stdout } = await execa(python, [join(import.meta.dirname, 's3.py'), host, `${pathname.slice(1)}/alone`, String(size), String(count)], {
    env: { PATH, TMPDIR, AWS_DEFAULT_REGION, AWS_CONTAINER_CREDENTIALS_FULL_URI, AWS_ENDPOINT_URL_S3 }, extendEnv: false,
  });
  return JSON.parse(stdout) as Record<Way, number>;
}
