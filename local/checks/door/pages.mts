/** All pages of MLflow's menu go on to work under the policy of the inner door, and send nothing elsewhere. */

import assert from 'node:assert/strict';
import type { Browser } from 'playwright-core';
import { makeRun, signedIn, visit } from './browser.mjs';
import { logTrace } from './stored-scripts.mjs';
import { unique, type Suite } from './suite.mjs';
import { json } from '../../http.mjs';

/** What MLflow's page asks for that is closed or not there, whatever the door does. */
const expected = [/\/ajax-api\/3\.0\/mlflow\/assistant\//, /\/users\/current/, /\/gateway\/endpoints\/list/];
/** MLflow shows a film of its own site where there are no traces. */
const film = 'https://mlflow.org/docs/latest/images/llms/tracing/tracing-top.mp4';

export async function pagesWork(suite: Suite, browser: Browser): Promise<void> {
  const { checks, sides: { real } } = suite;
  const { experiment, run } = await makeRun(suite, real, {
    files: { 'a.csv': 'a,b\n1,2\n', 'a.json': '{"a": 1}', 'a.md': '# a', 'a.py': 'print(1)', 'a.html': '<p>a</p>' },
  });
  await suite.need(real, '/api/2.0/mlflow/runs/log-metric', json({ run_id: run, key: 'loss', value: 1, timestamp: Date.now() }));
  const trace = await logTrace(suite, real, experiment, 'hello');
  const model = unique();
  await suite.need(real, '/api/2.0/mlflow/registered-models/create', json({ name: model }));
  const within = `/experiments/${experiment}`;
  const paths = [
    '/', '/experiments', within, ...['traces', `traces/${trace}`, 'runs', 'chat-sessions', 'datasets', 'evaluation-runs', 'judges', 'models', 'overview/usage', 'prompts', 'review-queue'].map(tab => `${within}/${tab}`),
    ...['', '/model-metrics', '/system-metrics', '/traces', ...['csv', 'json', 'md', 'py', 'html'].map(ending => `/artifacts/a.${ending}`)].map(tab => `${within}/runs/${run}${tab}`),
    `/metric?runs=["${run}"]&metric="loss"&experiments=["${experiment}"]`, '/models', `/models/${model}`, '/prompts', '/mcp-registry', '/settings', '/experiments/0/traces',
  ];

  checks.heading('Under the policy of the door no call fails, nothing is blocked and nothing goes elsewhere, on');
  const context = await signedIn(browser, suite, real);
  const page = await context.newPage();
  let wrong: string[] = [];
  page.on('console', message => /Content Security Policy/i.test(message.text()) && !message.text().includes(film) && wrong.push(message.text()));
  page.on('pageerror', error => wrong.push(error.message));
  page.on('response', response => response.status() >= 400 && !expected.some(pattern => pattern.test(response.url())) && wrong.push(`${response.status()} ${response.url()}`));
  page.on('request', request => {
    const { protocol, origin } = new URL(request.url());
    return protocol.startsWith('http') && origin !== real.url && !request.url().startsWith(film) && wrong.push(`request to ${request.url()}`);
  });
  for (const path of paths) {
    await checks.check(path.replaceAll(experiment, '<experiment>').replaceAll(run, '<run>').replace(trace, '<trace>').replace(model, '<model>'), async () => {
      wrong = [];
      await visit(page, real, path);
      const text = await page.locator('body').innerText();
      assert(text.length > 50 && !/Page Not Found|Something went wrong/i.test(text), text.slice(0, 300));
      assert.deepEqual(wrong, []);
    });
  }
  await checks.check('(the film of another site is blocked)', async () => {
    const reached: string[] = [];
    page.on('response', response => response.url().startsWith(film) && reached.push(response.url()));
    await visit(page, real, '/experiments/0/traces');
    assert.deepEqual(reached, []);
  });
  await context.close();
}
