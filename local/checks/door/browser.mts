/** Shared by the attacks on MLflow's page and the visit of all pages. */

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
    // Cookies do not depend on the port or, on the loopback, on TLS.
    return { name, value, url: `https://${hostname}`, secure: true, httpOnly: true, sameSite: 'Lax' as const };
  }));
  // MLflow shows dialogs to new users, which would cover the page.
  await context.addInitScript({ content: "try { localStorage.setItem('mlflow.assistant.dismissed', 'true'); } catch { /* a frame without storage */ }" });
  return context;
}

/** Opens a page of MLflow and waits until it has loaded, that is, until there is no request or answer for a second. */
export async function visit(page: Page, { url }: Pick<Side, 'url'>, path: string): Promise<void> {
  let last = Date.now();
  const note = () => { last = Date.now(); };
  page.on('request', note).on('response', note).on('requestfailed', note);
  await page.goto('about:blank'); // otherwise only the part after `#` changes and the page is not loaded again
  await page.goto(`${url}/#${path}`);
  const deadline = Date.now() + 15_000; // some pages send requests repeatedly
  while (Date.now() - last < 1000 && Date.now() < deadline) {
    await sleep(50);
  }
  page.off('request', note).off('response', note).off('requestfailed', note);
}

/** Creates a run in a new experiment, with tags and files. */
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
