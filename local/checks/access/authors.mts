/** Stored data names its author, whatever a client claims. */

import assert from 'node:assert/strict';
import { addressOf, asked, type Level, type Levels } from './levels.mjs';
import { api, type Seeds } from './seeds.mjs';
import { json, type Message, type Send } from '../../clients/http.mjs';
import type { Checks } from '../checks.mjs';

const boss = 'boss@example.com';
const claims = { user_id: boss, tags: [{ key: 'mlflow.user', value: boss }] };

interface Run {
  readonly info: { readonly run_id: string; readonly user_id: string };
  readonly data: { readonly tags: { readonly key: string; readonly value: string }[] };
}

interface Review {
  readonly assessment_id: string;
  readonly source: { readonly source_id: string };
}

interface TraceInfo {
  readonly trace_metadata: Record<string, string>;
  readonly tags: Record<string, string>;
  readonly assessments?: Review[];
}

function sourceIn({ assessments = [] }: TraceInfo, review: Review): string | undefined {
  return assessments.find(({ assessment_id: id }) => id === review.assessment_id)?.source.source_id;
}

/** `weak` is a server without the inner door. */
export async function checkAuthors(checks: Checks, at: Levels, seeds: Seeds, weak: Send): Promise<void> {
  const { experiment_id, trace_id, name } = await seeds.ids();
  const [editor, admin] = [addressOf('editor'), addressOf('admin')];
  const need = async function <Value>(level: Level, path: string, message?: Message) {
    const { status, body } = await asked(at, level, path, message);
    assert.equal(status, 200, `${path}: ${body.slice(0, 300)}`);
    return JSON.parse(body) as Value;
  };
  const nameOf = ({ info, data }: Run) => [info.user_id, data.tags.find(({ key }) => key === 'mlflow.user')?.value];
  const read = async (runId: string) => (await need<{ run: Run }>('reader', `${api}/runs/get?run_id=${runId}`)).run;
  const create = async (body: unknown, path = `${api}/runs/create`) => (await need<{ run: Run }>('editor', path, json(body))).run;

  const review = { assessment: { assessment_name: 'good', trace_id, source: { source_type: 'HUMAN', source_id: boss }, feedback: { value: true } } };

  checks.heading('Stored data names its author');
  const bodies: Record<string, unknown> = {
    'a forged author': { experiment_id, ...claims },
    'a forged author in the other spelling': { experimentId: experiment_id, userId: boss, tags: claims.tags },
    'no author': { experiment_id },
    'a forged author in a body that is encoded twice, as old clients send it': JSON.stringify({ experiment_id, ...claims }),
  };
  await checks.check('(without the inner door, it names the author that the client claims)', async () => {
    for (const body of Object.values(bodies).filter(each => JSON.stringify(each).includes(boss))) {
      const answer = await weak(`${api}/runs/create`, json(body));
      assert.equal(answer.status, 200, answer.body);
      assert.deepEqual(nameOf((JSON.parse(answer.body) as { run: Run }).run), [boss, boss]);
    }
    const reviewed = await weak(`/api/3.0/mlflow/traces/${String(trace_id)}/assessments`, json(review));
    assert.equal((JSON.parse(reviewed.body) as { assessment: Review }).assessment.source.source_id, boss, reviewed.body);
  });
  for (const [title, body] of Object.entries(bodies)) {
    for (const prefix of ['/api/2.0', '/ajax-api/2.0']) {
      await checks.check(`a run, with ${title}, at ${prefix}`, async () => {
        const run = await create(body, `${prefix}/mlflow/runs/create`);
        assert.deepEqual(nameOf(run), [editor, editor]);
        assert.deepEqual(nameOf(await read(run.info.run_id)), [editor, editor]);
      });
    }
  }
  await checks.check('the tag with the author cannot be changed or deleted', async () => {
    const { info: { run_id } } = await create({ experiment_id });
    const tag = { key: 'mlflow.user', value: boss };
    await need('admin', `${api}/runs/set-tag`, json({ run_id, ...tag }));
    await need('admin', `${api}/runs/log-batch`, json({ run_id, tags: [tag] }));
    const { status, body } = await asked(at, 'admin', `${api}/runs/delete-tag`, json({ run_id, key: 'mlflow.user' }));
    assert.deepEqual([status, /names the author and must stay/.test(body)], [403, true], body);
    assert.deepEqual(nameOf(await read(run_id)), [editor, editor]);
  });
  await checks.check('a version of a model', async () => {
    const { model_version: version } = await need<{ model_version: { user_id: string } }>('editor', `${api}/model-versions/create`, json({ name, source: 's3://x/y', user_id: boss }));
    assert.equal(version.user_id, editor);
  });
  await checks.check('a trace and its review, also after another person has changed the review', async () => {
    const info = async () => (await need<{ trace: { trace_info: TraceInfo } }>('reader', `/api/3.0/mlflow/traces/${trace_id}`)).trace.trace_info;
    assert.equal((await info()).trace_metadata['mlflow.user'], admin);
    const path = `/api/3.0/mlflow/traces/${trace_id}/assessments`;
    const { assessment } = await need<{ assessment: Review }>('editor', path, json(review));
    assert.equal(assessment.source.source_id, editor);
    await need('admin', `${path}/${assessment.assessment_id}`, {
      ...json({
        assessment: { assessment_id: assessment.assessment_id, trace_id, feedback: { value: false } }, update_mask: 'feedback',
      }),
      method: 'PATCH',
    });
    assert.equal(sourceIn(await info(), assessment), admin);
    // The same trace is sent again, with another text of the review and another author.
    await need('editor', '/api/3.0/mlflow/traces', json({
      trace: {
        trace_info: {
          trace_id,
          trace_location: { type: 'MLFLOW_EXPERIMENT', mlflow_experiment: { experiment_id } },
          request_time: '2026-01-01T00:00:00Z',
          state: 'OK',
          trace_metadata: { 'mlflow.user': boss },
          tags: { 'mlflow.user': boss },
          assessments: [{
            assessment_id: assessment.assessment_id,
            assessment_name: 'good',
            trace_id,
            source: { source_type: 'HUMAN', source_id: boss },
            feedback: { value: true },
            rationale: 'forged',
          }],
        },
      },
    }));
    const again = await info();
    assert.equal(sourceIn(again, assessment), editor);
    assert.deepEqual([again.trace_metadata['mlflow.user'], again.tags['mlflow.user']], [admin, admin]);
  });
}
