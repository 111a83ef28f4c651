/** Two servers in the task: gunicorn, and uvicorn for what gunicorn does not serve. */

import assert from 'node:assert/strict';
import { join } from 'node:path';
import { execa } from 'execa';
import type { JWTPayload } from 'jose';
import { search } from './api.mjs';
import type { Checks } from './checks.mjs';
import { lifetime } from '../aws/issuer.mjs';
import { bearer, json, type Send } from '../clients/http.mjs';
import type { Deployment } from '../deployment.mjs';

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
    const found = await send(search, { headers: bearer(token) });
    assert.deepEqual([found.status, found.headers.server], [200, 'gunicorn']);
  });
  await checks.check('both refuse a Google account of people\'s own making, which oauth2-proxy lets in where machines may come, and let in the machine', async () => {
    const { issuer: { issuer, key }, clients } = deployment;
    const statuses = async (claims: JWTPayload) => {
      const headers = { ...bearer(await key.sign({ iss: issuer, aud: clients.toolId, sub: '1', email_verified: true, ...lifetime(60), ...claims })), 'x-mlflow-experiment-id': '0' };
      const found = await send(search, { headers });
      const traces = await send('/v1/traces', { ...json({ resourceSpans: [] }), headers: { 'content-type': 'application/json', ...headers } });
      return [found, traces].map(({ status, body }) => /Google Workspace/.test(body) ? 'not of the company' : status);
    };
    const refused = ['not of the company', 'not of the company'];
    assert.deepEqual(await statuses({ email: 'left@example.com' }), refused);
    assert.deepEqual(await statuses({ email: 'left@example.com', hd: 'evil.example' }), refused);
    assert.deepEqual(await statuses({ email: 'someone@example.com', hd: 'example.com' }), [200, 400]); // no spans
    assert.deepEqual(await statuses({ email: 'ci@project.iam.gserviceaccount.com' }), [200, 400]);
    assert.deepEqual(await statuses({ email: 'other@project.iam.gserviceaccount.com', hd: 'example.com' }), [403, 403]); // by oauth2-proxy
  });
  await checks.check('neither serves the assistant', async () => {
    const statuses = ['assistant/config', '%61ssistant/config'].map(async path => (await send(`/ajax-api/3.0/mlflow/${path}`, { headers: bearer(token) })).status);
    assert.deepEqual(await Promise.all(statuses), [403, 404]); // the load balancer, then the proxy
  });
}
