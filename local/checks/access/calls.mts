/** Calls that succeed at a level, and are refused at the next lower level. */

import assert from 'node:assert/strict';
import { randomBytes, randomUUID } from 'node:crypto';
import { asked, lacksLevel, levels, type Level, type Levels } from './levels.mjs';
import { api, type Seeds } from './seeds.mjs';
import { json, withLength, type Message } from '../../clients/http.mjs';
import type { Checks } from '../checks.mjs';

type Ids = Record<string, unknown>;

interface Call {
  readonly title: string;
  readonly level: Level;
  readonly path: (ids: Ids) => string;
  readonly message?: (ids: Ids) => Message;
}

const artifacts = '/api/2.0/mlflow-artifacts/artifacts';
const gateway = '/api/3.0/mlflow/gateway';
const query = 'query Runs($data: MlflowSearchRunsInput!) { mlflowSearchRuns(input: $data) { runs { info { runId } } } }';

function call(title: string, level: Level, path: string | ((ids: Ids) => string), message?: (ids: Ids) => Message): Call {
  return { title, level, path: typeof path === 'string' ? () => path : path, ...message && { message } };
}

function secret() {
  return { secret_name: randomUUID(), secret_value: { api_key: 'sk-x' }, provider: 'openai' };
}

/** A span as OpenTelemetry's SDKs send it. */
function span(): unknown {
  const now = BigInt(Date.now()) * 1_000_000n;
  const [traceId, spanId] = [randomBytes(16).toString('hex'), randomBytes(8).toString('hex')];
  return { resourceSpans: [{ scopeSpans: [{ spans: [{ traceId, spanId, name: 'x', startTimeUnixNano: String(now), endTimeUnixNano: String(now) }] }] }] };
}

const calls: Call[] = [
  call('opens the page', 'reader', '/'),
  call('searches runs', 'reader', `${api}/runs/search`, ({ experiment_ids }) => json({ experiment_ids })),
  call('searches runs with GraphQL', 'reader', '/graphql', ({ experiment_ids }) => json({ query, variables: { data: { experimentIds: experiment_ids } } })),
  call('downloads a file', 'reader', ({ artifact_path }) => `${artifacts}/${artifact_path}`),
  call('reads a trace', 'reader', ({ trace_id }) => `/api/3.0/mlflow/traces/${trace_id}`),
  call('lists keys of the gateway, without their values', 'reader', `${gateway}/secrets/list`),

  call('creates an experiment', 'editor', `${api}/experiments/create`, () => json({ name: randomUUID() })),
  call('creates a run', 'editor', `${api}/runs/create`, ({ experiment_id }) => json({ experiment_id })),
  call('logs metrics', 'editor', `${api}/runs/log-batch`, ({ run_id, metrics }) => json({ run_id, metrics })),
  call('uploads a file', 'editor', ({ artifact_path }) => `${artifacts}/${artifact_path}`, () => ({ method: 'PUT', body: 'y' })),
  call('deletes a run', 'editor', `${api}/runs/delete`, ({ run_id }) => json({ run_id })),
  call('registers a model', 'editor', `${api}/registered-models/create`, () => json({ name: randomUUID() })),
  call('moves an alias', 'editor', `${api}/registered-models/alias`, ({ name }) => json({ name, alias: 'champion', version: '1' })),
  call('sends a trace with OpenTelemetry', 'editor', '/v1/traces', ({ experiment_id }) => {
    const message = json(span());
    return { ...message, headers: { ...message.headers, 'x-mlflow-experiment-id': experiment_id as string } };
  }),
  call('writes a review', 'editor', ({ trace_id }) => `/api/3.0/mlflow/traces/${trace_id}/assessments`, ({ trace_id }) => json({
    assessment: { assessment_name: 'good', trace_id, source: { source_type: 'HUMAN', source_id: 'x' }, feedback: { value: true } },
  })),
  call('deletes traces', 'editor', `${api}/traces/delete-traces`, ({ experiment_id, trace_ids }) => json({ experiment_id, request_ids: trace_ids })),

  call('deletes an experiment', 'admin', `${api}/experiments/delete`, ({ experiment_id }) => json({ experiment_id })),
  call('deletes a model', 'admin', `${api}/registered-models/delete`, ({ name }) => withLength({ ...json({ name }), method: 'DELETE' })),
  call('deletes a version', 'admin', `${api}/model-versions/delete`, ({ name }) => withLength({ ...json({ name, version: '1' }), method: 'DELETE' })),
  call('deletes the version of an MCP server by changing its status', 'admin', ({ mcp_server }) => `/api/3.0/mlflow/mcp-servers/${mcp_server as string}/versions/1.0.0`, () => withLength({ ...json({ status: 'deleted' }), method: 'PATCH' })),
  call('deletes a file', 'admin', ({ artifact_path }) => `${artifacts}/${artifact_path}`, () => ({ method: 'DELETE' })),
  call('stores a key of the gateway', 'admin', `${gateway}/secrets/create`, () => json(secret())),
  call('creates a webhook', 'admin', `${api}/webhooks`, () => json({ name: randomUUID(), url: 'https://93.184.216.34/x', events: [{ entity: 'REGISTERED_MODEL', action: 'CREATED' }] })),
  call('lists webhooks', 'admin', `${api}/webhooks`),
];

export async function checkCalls(checks: Checks, at: Levels, seeds: Seeds): Promise<void> {
  checks.heading('A call that succeeds at this level is refused one level below');
  for (const { title, level, path, message } of calls) {
    await checks.check(`${level}: ${title}`, async () => {
      seeds.spoil();
      const ids = await seeds.ids();
      const below = levels[levels.indexOf(level) - 1];
      const refused = await asked(at, below, path(ids), message?.(ids));
      assert(lacksLevel(refused.status, refused.body), `${below}: ${refused.status} ${refused.body.slice(0, 200)}`);
      const answer = await asked(at, level, path(ids), message?.(ids));
      assert.equal(answer.status, 200, answer.body.slice(0, 300));
      assert(!/"errors":\[/.test(answer.body), answer.body.slice(0, 300));
    });
  }
}
