/** What the attacks on MLflow's page and the walk through it have in common. */

import { setTimeout as sleep } from 'node:timers/promises';
import type { Browser, BrowserContext, Page } from 'playwright-core';
import { unique, type DoorSuite, type Side } from './suite.mjs';
import { json } from '../../clients/http.mjs';

/** A browser in which the member is signed in. */
export async function signedIn(browser: Browser, { member }: DoorSuite, { url }: Side): Promise<BrowserContext> {
  const context = await browser.newContext({ ignoreHTTPSErrors: true, viewport: { width: 1400, height: 900 } });
  const { hostname } = new URL(url);
  await context.addCookies(member.cookie.split('; ').map(cookie => {
    const [name, value] = cookie.split(/=(.*)/s);
    // Cookies know neither ports nor, on the loopback, whether there is TLS.
    return { name, value, url: `https://${hostname}`, secure: true, httpOnly: true, sameSite: 'Lax' as const };
  }));
  // MLflow greets newcomers with dialogs, which would lie above what is to be seen.
  await context.addInitScript({ content: "try { localStorage.setItem('mlflow.assistant.dismissed', 'true'); } catch { /* a frame without storage */ }" });
  return context;
}

/** Goes to a page of MLflow and waits until it has loaded what it shows: nothing is sent or comes for a second. */
export async function visit(page: Page, { url }: Pick<Side, 'url'>, path: string): Promise<void> {
  let last = Date.now();
  const note = () => { last = Date.now(); };
  page.on('request', note).on('response', note).on('requestfailed', note);
  await page.goto('about:blank'); // else another page of MLflow is only a change behind the `#`
  await page.goto(`${url}/#${path}`);
  const deadline = Date.now() + 15_000; // some pages ask again and again
  while (Date.now() - last < 1000 && Date.now() < deadline) {
    await sleep(50);
  }
  page.off('request', note).off('response', note).off('requestfailed', note);
}

/** A run of an experiment of its own, with tags and files. */
export async function makeRun(
  suite: DoorSuite, side: Side,
  { tags = {}, files = {} }: { readonly tags?: Record<string, string>; readonly files?: Record<string, string | Buffer> } = {},
): Promise<{ readonly experiment: string; readonly run: string }> {
  const { experiment_id: experiment } = await suite.need<{ experiment_id: string }>(side, '/api/2.0/mlflow/experiments/create', json({ name: unique() }));
  const { run: { info: { run_id: run } } } = await suite.need<{ run: { info: { run_id: string } } }>(side, '/api/2.0/mlflow/runs/create', json({
    experiment_id: experiment, run_name: 'played', start_time: Date.now(), tags: Object.entries(tags).map(([key, value]) => ({ key, value })),
  }));
  for (const [name, content] of Object.entries(files)) {
    const { status, body } = await suite.call(side, `/api/2.0/mlflow-artifacts/artifacts/${experiment}/${run}/artifacts/${name}`, { method: 'PUT', body: content });
    if (status !== 200) {
      throw new Error(`${name}: ${status} ${body}`);
    }
  }
  return { experiment, run };
}
