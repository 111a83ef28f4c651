/** Stored scripts do not run with the session of the person who opens them. Reports that need scripts are still shown. */

import assert from 'node:assert/strict';
import { text as streamText } from 'node:stream/consumers';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Browser, BrowserContext, Frame, Page } from 'playwright-core';
import { makeRun, signedIn, visit } from './browser.mjs';
import { unique, type DoorAttempt, type DoorSuite, type Side } from './suite.mjs';
import { json } from '../../clients/http.mjs';

interface Stored {
  /** The path of the page that shows it. */
  readonly path: string;
  /** A text that the page must show, otherwise the check proves nothing. */
  readonly reads?: string;
  /** The element to click so that it is shown. */
  readonly click?: string;
}

/** Where a script can be stored, and the page that shows it. */
type Place = readonly [title: string, store: (suite: DoorSuite, side: Side, mark: string) => Promise<Stored>];

const createExperiment = '/ajax-api/2.0/mlflow/experiments/create';

/** A script that writes in the name of the person in whose browser it runs. It has no double quotes, so that it fits into an attribute. */
function script(mark: string): string {
  return `fetch('${createExperiment}',{method:'POST',credentials:'include',headers:{'Content-Type':'application/json'},body:JSON.stringify({name:'${mark}'})})`;
}

/** A word in all stored data. */
const word = 'readable';

const markup = (mark: string) => [
  word, `<script>${script(mark)}</script>`, `<img src=x onerror="${script(mark)}">`, `<svg onload="${script(mark)}"></svg>`, `<iframe srcdoc="&lt;script>${script(mark).replaceAll('"', '&quot;')}&lt;/script>"></iframe>`,
  `[a link](javascript:${encodeURI(script(mark))})`, `<a href="javascript:${script(mark)}">a link</a>`, `<details open ontoggle="${script(mark)}">x</details>`, `<math><mtext></mtext><mglyph><style></style><img src=x onerror="${script(mark)}"></mglyph></math>`,
].join('\n\n');

const runPage = ({ experiment, run }: { readonly experiment: string; readonly run: string }, rest = '') => ({ path: `/experiments/${experiment}/runs/${run}${rest}` });
const ofRun = (tags: (mark: string) => Record<string, string>, reads?: string) => async (suite: DoorSuite, side: Side, mark: string) =>
  ({ ...runPage(await makeRun(suite, side, { tags: tags(mark) })), reads });
const file = (name: string, content: (mark: string) => string, seen: Omit<Stored, 'path'> = { reads: word }): Place => [`a file ${name}`, async (suite, side, mark) =>
  ({ ...runPage(await makeRun(suite, side, { files: { [encodeURIComponent(name)]: content(mark) } }), `/artifacts/${encodeURIComponent(name)}`), ...seen })];

const places: Place[] = [
  ...['PROJECT', 'LOCAL', 'NOTEBOOK', 'JOB', 'UNKNOWN'].map((type): Place => [`the source of a run, of type ${type}`, ofRun(mark => ({ 'mlflow.source.type': type, 'mlflow.source.name': `javascript:${script(mark)}//git/x${word}` }), word)]),
  ['the source of a run, with a subfolder', ofRun(mark => ({ 'mlflow.source.type': 'PROJECT', 'mlflow.source.name': `javascript:${script(mark)}//git/x#${word}` }), word)],
  ['the job of a run', ofRun(mark => ({ 'mlflow.source.type': 'JOB', 'mlflow.databricks.jobID': '1', 'mlflow.databricks.jobRunID': '1', 'mlflow.databricks.webappURL': `javascript:${script(mark)}//` }), 'run 1 of job 1')],
  ['the notes of a run', ofRun(mark => ({ 'mlflow.note.content': markup(mark) }), word)],
  ['a tag and the user of a run', ofRun(mark => ({ 'x': markup(mark), 'mlflow.user': markup(mark) }), word)],
  ['the notes of an experiment', async (suite, side, mark) => {
    const { experiment } = await makeRun(suite, side);
    await suite.need(side, '/api/2.0/mlflow/experiments/set-experiment-tag', json({ experiment_id: experiment, key: 'mlflow.note.content', value: markup(mark) }));
    return { path: `/experiments/${experiment}/runs`, reads: word };
  }],
  ['the URL of a dataset', async (suite, side, mark) => {
    const made = await makeRun(suite, side);
    await suite.need(side, '/api/2.0/mlflow/runs/log-inputs', json({
      run_id: made.run,
      datasets: [{ dataset: { name: word, digest: '1', source_type: 'http', source: JSON.stringify({ url: `javascript:${script(mark)}` }), schema: '{}', profile: '{}' }, tags: [{ key: 'mlflow.data.context', value: 'training' }] }],
    }));
    return { ...runPage(made), click: `text=${word}`, reads: 'javascript:' };
  }],
  ['the run of a version of a model', async (suite, side, mark) => {
    const name = unique();
    const made = await makeRun(suite, side, { files: { 'model/MLmodel': 'x' } });
    await suite.need(side, '/api/2.0/mlflow/registered-models/create', json({ name, description: markup(mark) }));
    await suite.need(side, '/api/2.0/mlflow/model-versions/create', json({ name, source: `mlflow-artifacts:/${made.experiment}/${made.run}/artifacts/model`, run_id: made.run, run_link: `javascript:${script(mark)}`, description: markup(mark) }));
    return { path: `/models/${name}/versions/1`, reads: word };
  }],
  ['the description of a model', async (suite, side, mark) => {
    const name = unique();
    await suite.need(side, '/api/2.0/mlflow/registered-models/create', json({ name, description: markup(mark) }));
    return { path: `/models/${name}`, reads: word };
  }],
  ['a prompt', async (suite, side, mark) => {
    const name = unique();
    await suite.need(side, '/api/2.0/mlflow/registered-models/create', json({ name, description: markup(mark), tags: [{ key: 'mlflow.prompt.is_prompt', value: 'true' }] }));
    await suite.need(side, '/api/2.0/mlflow/model-versions/create', json({ name, source: 'dummy-source', description: markup(mark), tags: [{ key: 'mlflow.prompt.is_prompt', value: 'true' }, { key: 'mlflow.prompt.text', value: markup(mark) }] }));
    return { path: `/prompts/${name}`, reads: word };
  }],
  ['a trace', async (suite, side, mark) => {
    const { experiment } = await makeRun(suite, side);
    const trace = await logTrace(suite, side, experiment, markup(mark));
    return { path: `/experiments/${experiment}/traces?selectedEvaluationId=${trace}`, reads: word };
  }],
  file('page.html', mark => htmlOf(mark)),
  file('picture.svg', mark => `<svg xmlns="http://www.w3.org/2000/svg" onload="${script(mark)}"><script>${script(mark)}</script><text y="9">${word}</text></svg>`, { click: 'img[src^="blob:"]:visible' }),
  file('notes.md', markup),
  file('table.csv', mark => `a,b\n"${markup(mark).replaceAll('"', '""')}",=1+1\n`),
  file('map.geojson', mark => JSON.stringify({ type: 'FeatureCollection', features: [{ type: 'Feature', geometry: { type: 'Point', coordinates: [0, 0] }, properties: { name: markup(mark), popupContent: markup(mark) } }] }), { reads: word, click: '.leaflet-marker-icon' }),
  file('data.json', mark => JSON.stringify({ a: markup(mark) })),
  ['the name of a file', async (suite, side) => ({ ...runPage(await makeRun(suite, side, { files: { [encodeURIComponent('<img src=x onerror=alert(1)>.txt')]: 'x' } }), '/artifacts'), reads: 'onerror=alert(1)' })],
  file('paper.pdf', mark => `%PDF-1.4\n1 0 obj<</Type/Catalog/Pages 2 0 R/OpenAction<</S/JavaScript/JS(app.launchURL('javascript:${script(mark).replace(/[()]/g, '\\$&')}'))>>>>endobj\n2 0 obj<</Type/Pages/Kids[3 0 R]/Count 1>>endobj\n3 0 obj<</Type/Page/Parent 2 0 R/MediaBox[0 0 9 9]>>endobj\ntrailer<</Root 1 0 R>>`, { reads: 'paper.pdf' }),
];

/** A page that tries many ways to write. */
function htmlOf(mark: string): string {
  return `<!doctype html><title>played</title><p>${word}</p><p id="drawn">not drawn</p><script>
    document.getElementById('drawn').textContent = 'drawn';
    const run = way => { try { way(); } catch (error) { document.body.append(String(error)); } };
    run(() => { ${script(mark)}; });
    run(() => { const call = new XMLHttpRequest(); call.withCredentials = true; call.open('POST', '${createExperiment}'); call.setRequestHeader('Content-Type', 'application/json'); call.send('{"name": "${mark}"}'); });
    run(() => { parent.${script(mark)}; });
    run(() => { top.${script(mark)}; });
    run(() => { opener.${script(mark)}; });
    run(() => { parent.eval("${script(mark)}"); });
    run(() => { parent.location = "javascript:${script(mark)}"; });
    run(() => { top.location = "javascript:${script(mark)}"; });
    run(() => { open("javascript:${script(mark)}"); });
    run(() => { const frame = document.createElement('iframe'); frame.src = '/'; frame.onload = () => frame.contentWindow.eval("${script(mark)}"); document.body.append(frame); });
    run(() => { parent.postMessage({ file: "<script>${script(mark)}<" + "/script>" }, '*'); });
  </script>`;
}

export async function noStoredScriptRuns(suite: DoorSuite, browser: Browser): Promise<void> {
  const { checks, sides: { real } } = suite;
  checks.heading('No stored script runs with the session of the person who opens the page, in');
  await suite.variants([...places], ([title]) => title, ([, store]) => watched(suite, browser, store), real);

  checks.heading('No script of an HTML file runs with the session if the file is opened alone:');
  const html: Place[1] = async (_, side, mark) => runPage(await makeRun(suite, side, { files: { 'page.html': htmlOf(mark) } }), '/artifacts/page.html');
  await suite.variants(openings, ([title]) => title, ([, open]) => watched(suite, browser, html, open), real);

  checks.heading('A stored file does not run even if the page names it as its script:');
  const module: Place[1] = async (_, side, mark) => runPage(await makeRun(suite, side, { files: { 'stored.mjs': script(mark) } }));
  await suite.variants(['', '/static-files/..%2f', '/secure-mlflow/..%2f'], way => way || 'by its URL', way => watched(suite, browser, module, async page => {
    const [, experiment, run] = /experiments\/(\w+)\/runs\/(\w+)/.exec(page.url())!;
    const address = `${way || '/'}ajax-api/2.0/mlflow-artifacts/artifacts/${experiment}/${run}/artifacts/stored.mjs`;
    await page.evaluate(`(() => { const script = document.createElement('script'); script.src = '${address}'; document.head.append(script); })()`);
  }), real);

  await suite.attack('a note cannot sign out the person who reads it', signOutByNote(suite, browser), real);
  await checks.check('the page can offer an HTML file as a download', () => savesFile(suite, browser));
  await checks.check('an HTML file is a download if its URL is opened', () => runsNoDownload(suite, browser));
}

/** Ways to open the frame that shows an HTML file outside of the page. */
const openings: [title: string, open: (page: Page) => Promise<void>][] = [
  ['its frame in a separate tab', async page => {
    const address = (await frameOf(page)).url();
    await Promise.all([page.context().waitForEvent('page'), page.evaluate(`void open(${JSON.stringify(address)})`)]);
  }],
  ['its frame in a separate tab, without the page', async page => {
    const address = (await frameOf(page)).url();
    await (await page.context().newPage()).goto(address).catch(() => undefined);
  }],
  ['its frame in the place of the page', async page => {
    const address = (await frameOf(page)).url();
    await page.evaluate(`location.assign(${JSON.stringify(address)})`);
  }],
  ['the frame without its attributes', async page => {
    const address = (await frameOf(page)).url();
    await page.evaluate(`(() => { const frame = document.createElement('iframe'); frame.src = ${JSON.stringify(address)}; document.body.append(frame); })()`);
  }],
];

function signOutByNote(suite: DoorSuite, browser: Browser): DoorAttempt {
  return async side => {
    const { experiment, run } = await makeRun(suite, side, { tags: { 'mlflow.note.content': `${word} ![x](/oauth2/sign_out)` } });
    const context = await signedIn(browser, suite, side);
    try {
      const page = await context.newPage();
      const asked: string[] = [];
      page.on('requestfinished', request => asked.push(request.url())); // a request that the policy blocks does not finish
      await visit(page, side, `/experiments/${experiment}/runs/${run}`);
      await page.getByText(word).first().waitFor({ timeout: 5000 });
      return asked.find(url => url.includes('/oauth2/sign_out'));
    } finally {
      await context.close();
    }
  };
}

async function savesFile(suite: DoorSuite, browser: Browser): Promise<void> {
  const { real } = suite.sides;
  const context = await signedIn(browser, suite, real);
  try {
    const page = await context.newPage();
    await page.goto(`${real.url}/`);
    const saved = page.waitForEvent('download');
    await page.evaluate("(() => { const link = document.createElement('a'); link.href = URL.createObjectURL(new Blob(['<p>mine</p>'], { type: 'text/html' })); link.download = 'report.html'; document.body.append(link); link.click(); })()");
    assert.equal(await streamText(await (await saved).createReadStream()), '<p>mine</p>');
  } finally {
    await context.close();
  }
}

async function runsNoDownload(suite: DoorSuite, browser: Browser): Promise<void> {
  const { real } = suite.sides;
  const mark = unique();
  const { experiment, run } = await makeRun(suite, real, { files: { 'page.html': htmlOf(mark) } });
  const context = await signedIn(browser, suite, real);
  try {
    for (const path of [`/get-artifact?run_uuid=${run}&path=page.html`, `/api/2.0/mlflow-artifacts/artifacts/${experiment}/${run}/artifacts/page.html`, `/ajax-api/2.0/mlflow-artifacts/artifacts/${experiment}/${run}/artifacts/page.html`]) {
      await (await context.newPage()).goto(real.url + path).catch(() => undefined);
    }
    assert.equal(await written(suite, real, mark), false);
  } finally {
    await context.close();
  }
}

/** What reports need: their own scripts, and features that libraries for figures use. */
const reports: [title: string, html: string][] = [
  ['draws with its own script', '<p id="drawn"></p><script>document.getElementById("drawn").textContent = "a figure"</script>'],
  ['waits until it has loaded', '<p id="drawn"></p><script>addEventListener("load", () => { document.getElementById("drawn").textContent = "a figure" })</script>'],
  ['waits until it is parsed', '<p id="drawn"></p><script>document.addEventListener("DOMContentLoaded", () => { document.getElementById("drawn").textContent = "a figure" })</script>'],
  ['runs text as code', '<p id="drawn"></p><script>document.getElementById("drawn").textContent = eval("\'a \' + \'figure\'") && new Function("return \'a figure\'")()</script>'],
  ['has handlers in its elements', '<p id="drawn"></p><img src="data:," onerror="document.getElementById(\'drawn\').textContent = \'a figure\'">'],
  ['has a worker', '<p id="drawn"></p><script>new Worker(URL.createObjectURL(new Blob(["postMessage(\'a figure\')"]))).onmessage = ({ data }) => { document.getElementById("drawn").textContent = data }</script>'],
  ['imports a module', '<p id="drawn"></p><script type="module">import("data:text/javascript,export default \'a figure\'").then(module => { document.getElementById("drawn").textContent = module.default })</script>'],
  ['has a frame', '<p id="drawn"></p><iframe srcdoc="<script>parent.postMessage(\'a figure\', \'*\')</script>"></iframe><script>addEventListener("message", ({ data }) => { document.getElementById("drawn").textContent = data })</script>'],
  ['has styles and a picture', '<style>#drawn { width: 7px }</style><p id="drawn" style="color: red"></p><img id="picture" src="data:image/gif;base64,R0lGODlhAQABAAAAACwAAAAAAQABAAA="><script>picture.decode().then(() => { drawn.textContent = getComputedStyle(drawn).width === "7px" && getComputedStyle(drawn).color === "rgb(255, 0, 0)" ? "a figure" : "no style" })</script>'],
  ['is half a page', '<div id="drawn"></div><script>drawn.innerHTML = "a figure"'.concat('</script>')],
  ['is a whole page with umlauts', '<!DOCTYPE html><html><head><meta charset="utf-8"></head><body><p id="drawn">ä</p><script>drawn.textContent = drawn.textContent === "ä" ? "a figure" : drawn.textContent</script></body></html>'],
];

export async function reportsAreShown(suite: DoorSuite, browser: Browser): Promise<void> {
  const { checks, sides: { real } } = suite;
  checks.heading('A report that is an HTML file is shown if it');
  const context = await signedIn(browser, suite, real);
  const page = await context.newPage();
  for (const [title, html] of reports) {
    await checks.check(title, async () => {
      const { experiment, run } = await makeRun(suite, real, { files: { 'report.html': html } });
      await visit(page, real, `/experiments/${experiment}/runs/${run}/artifacts/report.html`);
      const drawn = (await frameOf(page)).locator('#drawn');
      await drawn.filter({ hasText: /^a figure$/ }).waitFor({ timeout: 5000 }).catch(async () => {
        throw new Error(`it shows: ${await drawn.textContent({ timeout: 1000 }).catch(() => 'nothing')}`);
      });
    });
  }
  await checks.check('is followed by another report', async () => {
    const { experiment, run } = await makeRun(suite, real, { files: { 'a.html': reports[0][1].replace('a figure', 'the first'), 'b.html': reports[0][1].replace('a figure', 'the second') } });
    await visit(page, real, `/experiments/${experiment}/runs/${run}/artifacts/a.html`);
    await (await frameOf(page)).getByText('the first').waitFor({ timeout: 5000 });
    await page.getByText('b.html').first().click();
    await sleep(1500);
    await (await frameOf(page)).getByText('the second').waitFor({ timeout: 5000 });
  });
  await context.close();
}

/** Opens the page, follows links that are scripts, and checks whether a script has written. */
function watched(suite: DoorSuite, browser: Browser, store: Place[1], andThen: (page: Page) => Promise<void> = followScripts): DoorAttempt {
  return async side => {
    const mark = unique();
    // If the data cannot be stored, the check proves nothing.
    const { path, click, reads = '' } = await store(suite, side, mark).catch((error: Error) => { throw new Error(error.message); });
    const context = await signedIn(browser, suite, side);
    try {
      const page = await context.newPage();
      let dialogs = 0;
      page.on('dialog', dialog => {
        dialogs += 1;
        void dialog.dismiss();
      });
      await visit(page, side, path);
      if (click !== undefined) {
        await page.locator(click).first().click({ timeout: 5000 });
        await sleep(500);
      }
      await until(async () => (await texts(page)).includes(reads), async () => `the page does not show it: ${(await texts(page)).slice(-300)}`);
      await andThen(page);
      for (let tries = 0; tries < 5; tries += 1) {
        if (dialogs > 0) {
          return 'a script has opened a dialog';
        }
        if (await written(suite, side, mark)) {
          return `a script has written in the name of ${suite.member.address}`;
        }
        await sleep(300);
      }
      return undefined;
    } finally {
      await close(context);
    }
  };
}

async function followScripts(page: Page): Promise<void> {
  for (const frame of page.frames()) {
    const links = await frame.locator('a[href^="javascript:" i]').all().catch(() => []);
    for (const link of links) {
      await link.click({ timeout: 2000, force: true }).catch(() => undefined);
    }
  }
}

async function frameOf(page: Page): Promise<Frame> {
  const find = () => page.frames().find(frame => frame.parentFrame() === page.mainFrame() && frame.url() !== 'about:blank');
  await until(async () => find() !== undefined, async () => `the page shows no file: ${(await texts(page)).slice(-300)}`);
  return find()!;
}

async function until(condition: () => Promise<boolean>, otherwise: () => Promise<string>): Promise<void> {
  for (let tries = 0; !await condition(); tries += 1) {
    if (tries === 50) {
      throw new Error(await otherwise());
    }
    await sleep(200);
  }
}

/** The texts of the page and its frames. */
async function texts(page: Page): Promise<string> {
  const all = await Promise.all(page.frames().map(frame => frame.locator('body').innerText({ timeout: 3000 }).catch(() => '')));
  return all.join(' ').replace(/\s+/g, ' ');
}

async function written(suite: DoorSuite, side: Side, mark: string): Promise<boolean> {
  return (await suite.call(side, `/api/2.0/mlflow/experiments/get-by-name?experiment_name=${mark}`)).status === 200;
}

async function close(context: BrowserContext): Promise<void> {
  await Promise.race([context.close(), sleep(5000)]);
}

/** Sends a trace with OpenTelemetry, as JSON. Returns its id. */
export async function logTrace(suite: DoorSuite, side: Side, experiment: string, content: string): Promise<string> {
  const id = unique().replaceAll('-', '').slice(-32);
  const now = Date.now();
  const attribute = (key: string, value: string) => ({ key, value: { stringValue: value } });
  const message = json({
    resourceSpans: [{
      scopeSpans: [{
        spans: [{
          traceId: id,
          spanId: id.slice(0, 16),
          name: 'played',
          kind: 1,
          startTimeUnixNano: `${now}000000`,
          endTimeUnixNano: `${now + 5}000000`,
          status: { code: 1 },
          attributes: [attribute('mlflow.spanInputs', JSON.stringify(content)), attribute('mlflow.spanOutputs', JSON.stringify(content)), attribute('mlflow.spanType', '"LLM"'), attribute('session.id', 'session-1'), attribute('mlflow.trace.session', 'session-1')],
        }],
      }],
    }],
  });
  const { status, body } = await suite.call(side, '/v1/traces', { ...message, headers: { ...message.headers, 'x-mlflow-experiment-id': experiment } });
  if (status !== 200) {
    throw new Error(`the trace was not accepted: ${status} ${body}`);
  }
  return `tr-${id}`;
}
