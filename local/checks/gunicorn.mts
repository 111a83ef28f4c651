/** Two servers in the task: gunicorn, and uvicorn for what gunicorn does not serve. */

import assert from 'node:assert/strict';
import { join } from 'node:path';
import { execa } from 'execa';
import type { Checks } from '../checks.mjs';
import type { Deployment } from '../deployment.mjs';
import { bearer, json, type Send } from '../http.mjs';

export async function checkGunicorn(checks: Checks, deployment: Deployment, send: Send, token: string): Promise<void> {
  const { env } = deployment.container('mlflow');
  const beside = deployment.container('mlflow-uvicorn').env;
  const upstreams = deployment.proxy.env.OAUTH2_PROXY_UPSTREAMS.split(',').map(upstream => new URL(upstream));

  checks.heading('Gunicorn, and uvicorn beside it');
  await checks.check('every path that MLflow serves under uvicorn alone goes there, but for the assistant', async () => {
    const { stdout } = await execa('python', [join(import.meta.dirname, 'uvicorn_paths.py')], { env, extendEnv: false, cwd: '/', preferLocal: false });
    const paths = JSON.parse(stdout.split('\n').at(-1)!) as string[];
    const served = upstreams.filter(({ port }) => port === beside.MLFLOW_PORT).map(({ pathname }) => pathname);
    const missing = paths.filter(path => !served.some(prefix => path === prefix || prefix.endsWith('/') && path.startsWith(prefix)));
    assert(paths.includes('/v1/traces'));
    assert.deepEqual(missing.filter(path => !path.startsWith('/ajax-api/3.0/mlflow/assistant/')), []);
    return `${paths.length} paths`;
  });
  await checks.check('it is uvicorn that takes traces, and gunicorn that searches', async () => {
    const traces = await send('/v1/traces', { ...json({ resourceSpans: [] }), headers: { ...bearer(token), 'content-type': 'application/json', 'x-mlflow-experiment-id': '0' } });
    assert.deepEqual([traces.status, traces.headers.server, /no spans found/.test(traces.body)], [400, 'uvicorn', true]);
    const search = await send('/api/2.0/mlflow/experiments/search?max_results=1', { headers: bearer(token) });
    assert.deepEqual([search.status, search.headers.server], [200, 'gunicorn']);
  });
  await checks.check('neither serves the assistant', async () => {
    const statuses = ['assistant/config', '%61ssistant/config'].map(async path => (await send(`/ajax-api/3.0/mlflow/${path}`, { headers: bearer(token) })).status);
    assert.deepEqual(await Promise.all(statuses), [403, 404]); // the load balancer, then the proxy
  });
}
