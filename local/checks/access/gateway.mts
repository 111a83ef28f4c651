/** The trace that the server makes for a call of the AI gateway names the caller. */

import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { addressOf, asked, type Level, type Levels } from './levels.mjs';
import { json, type Message } from '../../clients/http.mjs';
import type { AiProvider } from '../../providers/ai-provider.mjs';

const gateway = '/api/3.0/mlflow/gateway';

/** The settings that the server needs to reach a provider on the loopback. */
export function privateProvider(url: string): Record<string, string> {
  return { MLFLOW_GATEWAY_API_BASE_ALLOW_PRIVATE_IPS: 'true', MLFLOW_GATEWAY_API_BASE_ALLOWED_SCHEMES: 'http,https', SECURE_MLFLOW_PRIVATE_PROVIDERS: url };
}

interface Endpoint {
  readonly name: string;
  readonly experiment_id: string;
}

export async function namesWhoCalled(at: Levels, provider: AiProvider): Promise<void> {
  const need = async function <Value>(level: Level, path: string, message?: Message) {
    const { status, body } = await asked(at, level, path, message);
    assert.equal(status, 200, `${path}: ${body.slice(0, 300)}`);
    return JSON.parse(body) as Value;
  };
  const { secret: { secret_id } } = await need<{ secret: { secret_id: string } }>('admin', `${gateway}/secrets/create`, json({
    secret_name: randomUUID(), secret_value: { api_key: 'sk-x' }, provider: 'openai', auth_config: { api_base: `${provider.url}/v1` },
  }));
  const { model_definition: { model_definition_id } } = await need<{ model_definition: { model_definition_id: string } }>(
    'admin', `${gateway}/model-definitions/create`, json({ name: randomUUID(), secret_id, provider: 'openai', model_name: 'played' }));
  const { endpoint } = await need<{ endpoint: Endpoint }>('admin', `${gateway}/endpoints/create`, json({
    name: randomUUID(), usage_tracking: true, model_configs: [{ model_definition_id, linkage_type: 'PRIMARY', weight: 1 }],
  }));
  await need('editor', `/gateway/${endpoint.name}/mlflow/invocations`, json({ messages: [{ role: 'user', content: 'hello' }] }));
  const find = async () => (await need<{ traces?: { trace_metadata: Record<string, string> }[] }>('reader', '/api/3.0/mlflow/traces/search', json({
    locations: [{ type: 'MLFLOW_EXPERIMENT', mlflow_experiment: { experiment_id: endpoint.experiment_id } }],
  }))).traces?.filter(({ trace_metadata: metadata }) => metadata['mlflow.trace.infoFinalized'] === 'true') ?? [];
  let traces = await find();
  for (let tries = 0; traces.length === 0 && tries < 50; tries += 1) {
    await sleep(200); // it is stored with a delay
    traces = await find();
  }
  assert.deepEqual(traces.map(({ trace_metadata: metadata }) => metadata['mlflow.user']), [addressOf('editor')]);
}
