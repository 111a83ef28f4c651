/** How people see levels: who is signed in, a refusal in MLflow's own dialog, a page for people without a level, and signing out. */

import assert from 'node:assert/strict';
import type { Browser, Page } from 'playwright-core';
import { addressOf, type Levels } from './levels.mjs';
import { Seeds } from './seeds.mjs';
import { personToken } from '../../clients/tokens.mjs';
import type { Deployment } from '../../deployment.mjs';
import { inBrowser } from '../browser.mjs';
import type { Checks } from '../checks.mjs';
import { visit } from '../door/browser.mjs';

/** Requests of the page that fail without harm: MLflow's assistant, which is closed, the list of its accounts, and the AI gateway where it is off. */
const doneWithout = /^(403|404) GET \/ajax-api\/3\.0\/mlflow\/assistant\/|^404 GET \/ajax-api\/[23]\.0\/mlflow\/users\/list|^501 GET \/ajax-api\/3\.0\/mlflow\/gateway\//;

/** Levels of the Cognito example: people without a group are readers. */
export async function checkLevelsInThePage(checks: Checks, at: Levels): Promise<void> {
  const { deployment } = at;
  const { url } = deployment;
  checks.heading('In the page');
  await inBrowser(async browser => {
    for (const [title, level] of [['a reader', 'none'], ['an editor', 'editor'], ['an admin', 'admin']] as const) {
      await checks.check(`${title} can open every kind of page, and no request of a page fails`, () => walks(browser, at, level));
    }
    const page = await opened(browser, url, 'none');
    await checks.check('the account menu shows who is signed in, and the account page shows the level', async () => {
      await page.getByRole('button', { name: `Account menu for ${addressOf('none')}` }).click();
      await page.getByRole('menuitem', { name: 'Account' }).click();
      await page.getByText(`Logged in as ${addressOf('none')}`).waitFor();
      await page.getByRole('cell', { name: 'reader', exact: true }).first().waitFor();
      const changesPassword = page.getByRole('button', { name: 'Change password', includeHidden: true });
      assert.deepEqual([await changesPassword.count(), await changesPassword.isVisible()], [1, false]);
    });
    await checks.check('a reader who creates an experiment sees in the dialog which level is needed', async () => {
      await page.goto(`${url}/#/experiments`);
      await page.getByRole('button', { name: 'Create', exact: true }).click();
      const dialog = page.getByRole('dialog', { name: 'Create Experiment' });
      await dialog.getByPlaceholder('Input an experiment name').fill('made by a reader');
      await dialog.getByRole('button', { name: 'Create', exact: true }).click();
      await page.getByText(`${addressOf('none')} is a reader here, and POST /ajax-api/2.0/mlflow/experiments/create needs an editor`).first().waitFor({ timeout: 10_000 });
      await page.keyboard.press('Escape');
    });
    await checks.check('"Logout" in the menu ends the session, and that of the sign-in provider', async () => {
      await page.goto(`${url}/#/experiments`);
      await page.getByRole('button', { name: /^Account menu for/ }).click();
      const signedOut = page.waitForRequest(request => request.url().includes('/oauth2/sign_out?rd='));
      await page.getByRole('menuitem', { name: 'Logout' }).click();
      assert((await signedOut).url().startsWith(`${url}/oauth2/sign_out?rd=`));
      await page.waitForURL(address => address.pathname !== '/oauth2/sign_out');
      const cookies = await page.context().cookies(url);
      assert.deepEqual(cookies.filter(({ name, value }) => name.startsWith('__Host-oauth2_proxy') && value !== '').map(({ name }) => name), []);
      await page.context().close();
    });
    await checks.check('a person without a level gets a page with the reason and a link to sign out', () => refusesInWords(browser, deployment));
  });
}

async function refusesInWords(browser: Browser, deployment: Deployment): Promise<void> {
  const nobody = { everybody: 'none', machines: 'none', lists: [{ level: 'admin', groups: ['ml-admins'], names: [] }] };
  const stack = await deployment.startStack({ env: { SECURE_MLFLOW_ACCESS: JSON.stringify(nobody) } });
  try {
    const token = await personToken(deployment.issuer.issuer, deployment.clients, addressOf('none'));
    // This server has no TLS. Without TLS, Chromium sends this header only to the loopback.
    const extraHTTPHeaders = { 'authorization': `Bearer ${token}`, 'sec-fetch-dest': 'document' };
    const context = await browser.newContext({ extraHTTPHeaders });
    const page = await context.newPage();
    const answer = await page.goto(`${stack.url}/`);
    assert.equal(answer!.status(), 403);
    await page.getByRole('heading', { name: 'No access' }).waitFor();
    await page.getByText(`${addressOf('none')} has no access here: ask the administrators of this server for a level`).waitFor();
    assert.match(await page.getByRole('link', { name: 'sign out' }).getAttribute('href') ?? '', /\/oauth2\/sign_out\?rd=/);
    await context.close();
  } finally {
    await stack.stop();
  }
}

async function walks(browser: Browser, at: Levels, level: 'none' | 'editor' | 'admin'): Promise<string> {
  const { url } = at.deployment;
  const { experiment_id, run_id, name } = await new Seeds(at).ids();
  const inside = `/experiments/${String(experiment_id)}`;
  const paths = [
    '/', '/experiments', inside, ...['runs', 'traces', 'models', 'datasets', 'judges', 'review-queue', 'prompts', 'evaluation-runs'].map(tab => `${inside}/${tab}`),
    `${inside}/runs/${String(run_id)}`, `${inside}/runs/${String(run_id)}/artifacts`, '/models', `/models/${String(name)}`, `/models/${String(name)}/versions/1`, '/prompts', '/mcp-registry', '/settings/general', '/account',
  ];
  const page = await opened(browser, url, level);
  const failed: string[] = [];
  page.on('response', response => {
    if (response.status() >= 400 && response.url().startsWith(url)) {
      failed.push(`${response.status()} ${response.request().method()} ${response.url().slice(url.length)}`);
    }
  });
  for (const path of paths) {
    await visit(page, { url }, path);
  }
  await page.context().close();
  assert.deepEqual(failed.filter(call => !doneWithout.test(call)), []);
  return `${paths.length} pages`;
}

async function opened(browser: Browser, url: string, level: 'none' | 'editor' | 'admin'): Promise<Page> {
  const context = await browser.newContext({ ignoreHTTPSErrors: true, viewport: { width: 1280, height: 800 } });
  const page = await context.newPage();
  await page.goto(url);
  await page.getByPlaceholder('you@example.com').fill(addressOf(level));
  await page.getByRole('button', { name: 'Sign in' }).click();
  await page.getByText('Experiments').first().waitFor();
  return page;
}
