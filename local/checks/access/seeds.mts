/** Objects that an admin has created, so that an accepted request has data to work on. */

import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { asked, type Levels } from './levels.mjs';
import { json, type Message } from '../../clients/http.mjs';

export const api = '/api/2.0/mlflow';
const newest = '/api/3.0/mlflow';

export class Seeds {
  private made?: Promise<Record<string, unknown>>;

  constructor(private readonly at: Levels) {}

  /** Ids by MLflow's names for them in paths, queries and bodies. */
  ids(): Promise<Record<string, unknown>> {
    this.made ??= this.make();
    return this.made;
  }

  /** Call it when the objects may have been deleted or changed. */
  spoil(): void {
    this.made = undefined;
  }

  private async make(): Promise<Record<string, unknown>> {
    const name = `seed-${randomUUID()}`;
    const { experiment_id } = await this.need<{ experiment_id: string }>(`${api}/experiments/create`, json({ name }));
    const { run: { info: { run_id } } } = await this.need<{ run: { info: { run_id: string } } }>(`${api}/runs/create`, json({ experiment_id, tags: [{ key: 'k', value: 'v' }] }));
    const folder = `${experiment_id}/${run_id}/artifacts`;
    for (const [fileName, body] of [['file.txt', 'x'], ['MLmodel', 'flavors: {}\n']] as const) {
      await this.need(`/api/2.0/mlflow-artifacts/artifacts/${folder}/${fileName}`, { method: 'PUT', body });
    }
    await this.need(`${api}/registered-models/create`, json({ name }));
    const source = `mlflow-artifacts:/${folder}`;
    await this.need(`${api}/model-versions/create`, json({ name, source, run_id }));
    const { model: { info: { model_id } } } = await this.need<{ model: { info: { model_id: string } } }>(`${api}/logged-models`, json({ experiment_id, name: 'seed' }));
    const trace_id = `tr-${randomUUID().replaceAll('-', '')}`;
    await this.need(`${newest}/traces`, json({
      trace: {
        trace_info: {
          trace_id, trace_location: { type: 'MLFLOW_EXPERIMENT', mlflow_experiment: { experiment_id } }, request_time: '2026-01-01T00:00:00Z', state: 'OK', trace_metadata: {}, tags: {},
        },
      },
    }));
    const { dataset: { dataset_id } } = await this.need<{ dataset: { dataset_id: string } }>(`${newest}/datasets/create`, json({ name, experiment_ids: [experiment_id] }));
    const mcp_server = await this.mcpServer();
    return {
      ...mcp_server !== undefined && { mcp_server },
      experiment_id,
      run_id,
      run_uuid: run_id,
      artifact_path: `${folder}/file.txt`,
      name,
      new_name: `${name}-x`,
      version: '1',
      stage: 'Staging',
      alias: 'b',
      key: 'k',
      tag_key: 'k',
      value: '1',
      path: 'file.txt',
      model_id,
      trace_id,
      request_id: trace_id,
      dataset_id,
      metric_key: 'm',
      experiment_ids: [experiment_id],
      run_ids: [run_id],
      trace_ids: [trace_id],
      request_ids: [trace_id],
      source,
      max_results: 5,
      timestamp: 1,
      step: 0,
      status: 'FINISHED',
      max_timestamp_millis: 2,
      model: 'x',
      prompt: 'x',
      config: {},
      params: {},
      // Not for query parameters, because these differ between calls.
      tags: [{ key: 'a', value: 'b' }],
      metrics: [{ key: 'q', value: 1, timestamp: 1, step: 1 }],
      messages: [{ role: 'user', content: 'x' }],
      locations: [{ type: 'MLFLOW_EXPERIMENT', mlflow_experiment: { experiment_id } }],
    };
  }

  /** Creates an MCP server with a version. Undefined with gunicorn, which does not serve these routes. */
  private async mcpServer(): Promise<string | undefined> {
    const name = `com.example/${randomUUID()}`;
    const path = `${newest}/mcp-servers`;
    if ((await asked(this.at, 'admin', path)).status === 404) {
      return undefined;
    }
    await this.need(path, json({ name }));
    await this.need(`${path}/${name}/versions`, json({ server_json: { name, version: '1.0.0', description: 'x' } }));
    return name;
  }

  private async need<Value>(path: string, message: Message): Promise<Value> {
    const { status, body } = await asked(this.at, 'admin', path, message);
    assert.equal(status, 200, `${path}: ${body.slice(0, 300)}`);
    return (body === '' ? {} : JSON.parse(body)) as Value;
  }
}
