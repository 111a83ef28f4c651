/** All pages of MLflow in a browser: they work with the door's policy, and the browser sends no request to other servers. */

import assert from 'node:assert/strict';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Browser, Page } from 'playwright-core';
import { makeRun, signedIn, visit } from './browser.mjs';
import { logTrace } from './stored-scripts.mjs';
import { gateway, unique, type DoorSuite, type Side } from './suite.mjs';
import { json } from '../../clients/http.mjs';
import { spoken } from '../../providers/ai-provider.mjs';

interface Seeded {
  readonly experiment: string;
  readonly run: string;
  readonly other: string;
  readonly trace: string;
  readonly model: string;
  readonly prompt: string;
  readonly loggedModel: string;
  readonly dataset: string;
  readonly empty: string;
  readonly evaluation: string;
}

/** The path of a page, and a text that it must show. */
type Stop = readonly [path: string, shows: RegExp];

const word = 'something to read';
const png = Buffer.from('iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==', 'base64');
const pdf = `%PDF-1.4
1 0 obj<</Type/Catalog/Pages 2 0 R>>endobj
2 0 obj<</Type/Pages/Kids[3 0 R]/Count 1>>endobj
3 0 obj<</Type/Page/Parent 2 0 R/MediaBox[0 0 200 50]/Contents 4 0 R/Resources<</Font<</F 5 0 R>>>>>>endobj
4 0 obj<</Length 48>>stream
BT /F 12 Tf 10 20 Td (${word}) Tj ET
endstream endobj
5 0 obj<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>endobj
trailer<</Root 1 0 R>>`;

const files: Record<string, string | Buffer> = {
  'picture.png': png,
  'picture.svg': `<svg xmlns="http://www.w3.org/2000/svg" width="99" height="99"><text y="20">${word}</text></svg>`,
  'page.html': `<p id="p"></p><script>p.textContent = '${word}'</script>`,
  'table.csv': `a,b\n1,${word}\n`,
  'data.json': JSON.stringify({ a: word }),
  'table.json': JSON.stringify({ columns: ['a'], data: [[word]] }),
  'paper.pdf': pdf,
  'notes.md': `# Notes\n\n${word}`,
  'map.geojson': JSON.stringify({ type: 'FeatureCollection', features: [{ type: 'Feature', geometry: { type: 'Point', coordinates: [8, 50] }, properties: { name: word } }] }),
  'code.py': `print('${word}')`,
  'config.yaml': `a: ${word}`,
  'text.txt': word,
  'sound.mp3': Buffer.alloc(100),
  'film.mp4': Buffer.alloc(100),
  'unknown.bin': Buffer.from([0, 1, 2]),
  'deep/er/file.txt': word,
  'model/MLmodel': 'flavors: {}\n',
};

/** Files whose text the page shows. */
const readable = /page\.html|table\.|data\.json|notes\.md|code\.py|config\.yaml|text\.txt|file\.txt/;

function stops({ experiment, run, other, trace, model, prompt, loggedModel, dataset, empty, evaluation }: Seeded): Stop[] {
  const inside = `/experiments/${experiment}`;
  const ofRun = `${inside}/runs/${run}`;
  const runs = encodeURIComponent(JSON.stringify([run, other]));
  const experiments = encodeURIComponent(JSON.stringify([experiment]));
  return [
    ['/', /Experiments/], ['/experiments', /played/], ['/models', new RegExp(model)], ['/prompts', new RegExp(prompt)], ['/mcp-registry', /MCP/], ['/settings', /Settings/],
    ['/settings/general', /Theme|Settings/], ['/settings/llm-connections', /LLM/], ['/settings/webhooks', /Webhook/], ['/compare-experiments/s?experiments=' + encodeURIComponent(JSON.stringify([experiment, empty])), /played/],
    [inside, /played/], ...['usage', 'quality', 'tool-calls'].map((tab): Stop => [`${inside}/overview/${tab}`, /Overview/]),
    [`${inside}/runs`, /played/], [`${inside}/traces`, /played/], [`${inside}/traces?selectedEvaluationId=${trace}`, new RegExp(word)], [`${inside}/chat-sessions`, /Session/], [`${inside}/judges`, /Judge/i],
    [`${inside}/review-queue`, /Review/], [`${inside}/datasets`, /Dataset/], [`${inside}/datasets/${dataset}`, /Dataset/], [`${inside}/evaluation-runs`, /Evaluation/], [`${inside}/evaluation-runs/${evaluation}`, /played|Evaluation/],
    [`${inside}/prompts`, /Prompt/], [`${inside}/prompts/${prompt}`, new RegExp(prompt)], [`${inside}/playground`, /Playground/], [`${inside}/models`, /models/i], [`${inside}/models/${loggedModel}`, /played-model/],
    ...['traces', 'runs', 'datasets', 'models', 'judges', 'evaluation-runs', 'chat-sessions', 'prompts'].map((tab): Stop => [`/experiments/${empty}/${tab}`, /./]),
    [`/compare-runs?runs=${runs}&experiments=${experiments}`, /played/], [`/metric?runs=${runs}&metric=%22loss%22&experiments=${experiments}&plot_metric_keys=%5B%22loss%22%5D`, /loss/],
    [ofRun, /played/], [`${ofRun}/model-metrics`, /loss/], [`${ofRun}/system-metrics`, /system|metrics/i], [`${ofRun}/traces`, /./], [`${ofRun}/artifacts`, /picture\.png/], [`${ofRun}/evaluations`, /./],
    ...Object.keys(files).map((name): Stop => [`${ofRun}/artifacts/${name}`, readable.test(name) ? new RegExp(word) : new RegExp(name.split('/').at(-1)!)]),
    [`/models/${model}`, new RegExp(model)], [`/models/${model}/versions/1`, /Version 1|run/i], [`/prompts/${prompt}`, new RegExp(prompt)],
  ];
}

/** Requests of MLflow's page that fail without harm: its assistant, which is closed, its own accounts, and the AI gateway where it is off. */
const refused = /^(403|404) GET \/ajax-api\/3\.0\/mlflow\/assistant\/|^404 GET \/ajax-api\/2\.0\/mlflow\/users\/|^501 GET \/ajax-api\/3\.0\/mlflow\/gateway\//;
/** Resources of other servers that are blocked without harm: a film about traces, and the tiles of maps. */
const elsewhere = /'https:\/\/(mlflow\.org|[abc]\.tile\.openstreetmap\.org)\//;

/** A fault of MLflow, also without the inner door: the files of two runs are compared before both have arrived. */
const race = 'Artifacts Something went wrong with this section';

const gatewayPages = ['/gateway', '/gateway/usage', '/gateway/budgets', '/gateway/api-keys', '/gateway/endpoints/create'];

export async function pagesWork(suite: DoorSuite, browser: Browser): Promise<void> {
  const { checks, sides } = suite;
  const seeded = await seed(suite, sides.real);
  const real = await Walker.begin(suite, browser, sides.real);
  checks.heading('All pages of MLflow work, and the browser sends no request to other servers');
  for (const [path, shows] of stops(seeded)) {
    await checks.check(path.replace(/[0-9a-f-]{32,}/g, '…').split('?')[0] + (path.includes('?') ? '?…' : ''), async () => {
      real.assertClean(await real.walk(path, shows));
    });
  }
  await suite.variants([['the film about traces', 'traces'], ['the tiles of a map', 'runs/{run}/artifacts/map.geojson']], ([title]) => `${title}: not requested from another server`, ([, page]) => async side => {
    const { experiment, run } = await makeRun(suite, side, { files: { 'map.geojson': files['map.geojson'] } });
    const walker = await Walker.begin(suite, browser, side);
    try {
      const { strangers } = await walker.walk(`/experiments/${experiment}/${page.replace('{run}', run)}`, /./);
      for (let tries = 0; strangers.length === 0 && tries < 25; tries += 1) {
        await sleep(200); // on a busy machine the page sends the request later
      }
      return strangers.length === 0 ? undefined : `the browser has sent requests to ${[...new Set(strangers.map(url => new URL(url).origin))].join(', ')}`;
    } finally {
      await walker.end();
    }
  }, sides.real);

  checks.heading('The pages of the AI gateway');
  for (const path of gatewayPages) {
    await checks.check(`${path}, where it is off: the page does not exist, and no menu leads to it`, async () => {
      const { text } = await real.walk(path, /Page Not Found/);
      assert.doesNotMatch(text, /AI Gateway/);
    });
  }
  await real.end();
  const endpoint = await suite.endpoint(sides.open, { provider: 'openai', config: { api_base: `${suite.provider.url}/v1` } });
  const { endpoint: { endpoint_id: id } } = await suite.need<{ endpoint: { endpoint_id: string } }>(sides.open, `${gateway}/endpoints/get?name=${endpoint}`);
  const open = await Walker.begin(suite, browser, sides.open);
  for (const path of [...gatewayPages, `/gateway/endpoints/${id}`]) {
    await checks.check(`${path.replace(/[0-9a-f-]{32,}/g, '…')}, where it is on`, async () => {
      open.assertClean(await open.walk(path, /AI Gateway|Endpoint|API key/i));
    });
  }
  await checks.check('a person can try an endpoint in the page', async () => {
    const arrivals = await suite.arrivals(() => open.tryOut(`/gateway/endpoints/${id}`));
    assert.equal(arrivals.length, 1, 'nothing has reached the provider');
  });
  await open.end();
}

interface Found {
  readonly text: string;
  /** Calls of this server that failed. */
  readonly failed: string[];
  /** Requests that the policy has blocked. */
  readonly blocked: string[];
  /** Requests to other servers. */
  readonly strangers: string[];
  readonly errors: string[];
}

class Walker {
  static async begin(suite: DoorSuite, browser: Browser, side: Side): Promise<Walker> {
    const context = await signedIn(browser, suite, side);
    // On a machine without a network Chromium is offline, and the page does not send its requests.
    await context.addInitScript("Object.defineProperty(Navigator.prototype, 'onLine', { get: () => true })");
    return new Walker(await context.newPage(), side);
  }

  private found: Omit<Found, 'text'> = { failed: [], blocked: [], strangers: [], errors: [] };

  private constructor(private readonly page: Page, private readonly side: Side) {
    const { origin } = new URL(side.url);
    page.on('response', response => {
      if (response.status() >= 400 && new URL(response.url()).origin === origin) {
        this.found.failed.push(`${response.status()} ${response.request().method()} ${response.url().slice(origin.length)}`);
      }
    });
    // A request that the policy blocks is also announced, and then fails for that reason.
    const called = (url: string, failure?: string) => {
      const { protocol, origin: other } = new URL(url);
      if (protocol.startsWith('http') && other !== origin && failure !== 'csp') {
        this.found.strangers.push(url);
      }
    };
    page.on('requestfinished', request => called(request.url()));
    page.on('requestfailed', request => called(request.url(), request.failure()?.errorText));
    page.on('console', message => {
      if (/Content Security Policy/i.test(message.text())) {
        this.found.blocked.push(message.text());
      }
    });
    page.on('pageerror', error => this.found.errors.push(error.message));
  }

  async walk(path: string, shows: RegExp): Promise<Found> {
    this.found = { failed: [], blocked: [], strangers: [], errors: [] };
    await visit(this.page, this.side, path);
    let text = '';
    for (let tries = 0; tries < 40 && !shows.test(text = await this.text()); tries += 1) {
      await sleep(200);
    }
    assert.match(text, shows, `the page shows: ${text.slice(0, 300)} … ${text.slice(-200)}`);
    return { text, ...this.found };
  }

  assertClean({ text, failed, blocked, strangers, errors }: Found): void {
    const wrong = [...failed.filter(call => !refused.test(call)), ...blocked.filter(message => !elsewhere.test(message)), ...strangers, ...errors];
    assert.deepEqual([...new Set(wrong)], []);
    assert.doesNotMatch(text.replace(race, ''), /Something went wrong|couldn't load|Page not found|An error occurred|Page Not Found/i);
  }

  async tryOut(path: string): Promise<void> {
    await visit(this.page, this.side, path);
    await this.page.getByRole('button', { name: 'Try in Browser' }).click({ timeout: 5000 });
    await this.page.getByRole('button', { name: 'Send request' }).click({ timeout: 5000 });
    const answered = async () => (await Promise.all((await this.page.locator('textarea').all()).map(field => field.inputValue()))).some(value => value.includes(spoken));
    for (let tries = 0; tries < 50 && !await answered(); tries += 1) {
      await sleep(200);
    }
    assert(await answered(), 'the page shows no answer');
  }

  async end(): Promise<void> {
    await Promise.race([this.page.context().close(), sleep(5000)]);
  }

  private async text(): Promise<string> {
    const all = await Promise.all(this.page.frames().map(frame => frame.locator('body').innerText({ timeout: 3000 }).catch(() => '')));
    return all.join(' ').replace(/\s+/g, ' ');
  }
}

async function seed(suite: DoorSuite, side: Side): Promise<Seeded> {
  async function need<Value>(path: string, value: object): Promise<Value> {
    return suite.need<Value>(side, path, json(value));
  }
  const { experiment, run } = await makeRun(suite, side, { files, tags: { 'mlflow.note.content': word } });
  const made = async (tags: Record<string, string> = {}) => (await need<{ run: { info: { run_id: string } } }>('/api/2.0/mlflow/runs/create', {
    experiment_id: experiment, run_name: 'played too', start_time: Date.now(), tags: Object.entries(tags).map(([key, value]) => ({ key, value })),
  })).run.info.run_id;
  const other = await made();
  const evaluation = await made({ 'mlflow.runType': 'genai_evaluate' });
  for (const id of [run, other]) {
    await need('/api/2.0/mlflow/runs/log-batch', {
      run_id: id,
      params: [{ key: 'rate', value: '0.1' }],
      metrics: [0, 1, 2].flatMap(step => ['loss', 'system/cpu_utilization_percentage'].map(key => ({ key, value: step, step, timestamp: Date.now() }))),
    });
    await need('/api/2.0/mlflow/runs/log-inputs', { run_id: id, datasets: [{ dataset: { name: 'played', digest: '1', source_type: 'http', source: '{"url": "https://example.com/x"}', schema: '{}', profile: '{}' } }] });
  }
  const trace = await logTrace(suite, side, experiment, word);
  const model = unique();
  await need('/api/2.0/mlflow/registered-models/create', { name: model, description: word });
  await need('/api/2.0/mlflow/model-versions/create', { name: model, source: `mlflow-artifacts:/${experiment}/${run}/artifacts/model`, run_id: run });
  const prompt = unique();
  const isPrompt = { key: 'mlflow.prompt.is_prompt', value: 'true' };
  await need('/api/2.0/mlflow/registered-models/create', { name: prompt, tags: [isPrompt, { key: '_mlflow_experiment_ids', value: `,${experiment},` }] });
  await need('/api/2.0/mlflow/model-versions/create', { name: prompt, source: 'dummy-source', tags: [isPrompt, { key: 'mlflow.prompt.text', value: word }] });
  const { model: { info: { model_id: loggedModel } } } = await need<{ model: { info: { model_id: string } } }>('/api/2.0/mlflow/logged-models', { experiment_id: experiment, name: 'played-model', source_run_id: run });
  const { dataset: { dataset_id: dataset } } = await need<{ dataset: { dataset_id: string } }>('/api/3.0/mlflow/datasets/create', { name: unique(), experiment_ids: [experiment] });
  const { experiment: empty } = await makeRun(suite, side);
  return { experiment, run, other, trace, model, prompt, loggedModel, dataset, empty, evaluation };
}
