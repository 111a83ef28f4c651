/**
 * `npm run screenshots` takes the pictures docs/images/screen-*.png, while this runs:
 *
 *   npm run try -- --app 'npx tsx --tsconfig local/examples.tsconfig.json local/apps/screenshots-app.ts'
 */

import { readFileSync } from 'node:fs';
import { join, relative, resolve } from 'node:path';
import { execa } from 'execa';
import type { Page } from 'playwright-core';
import { launchBrowser } from '../local/checks/browser.mjs';

const root = resolve(import.meta.dirname, '..');
const settings = [...readFileSync(join(root, '.try', 'env.sh'), 'utf8').matchAll(/^export (\w+)=(.*)$/gm)];
const environment = Object.fromEntries(settings.map(([, name, value]) => [name, value]));
const url = environment.MLFLOW_TRACKING_URI;

const browser = await launchBrowser();
if (browser === undefined) {
  throw new Error('there is no Chromium here');
}
const demo = await execa(join(root, '.try', 'mlflow', 'bin', 'python'), [join(import.meta.dirname, 'demo.py')], { env: { ...environment, LOGNAME: 'someone' } });
const [experiment, run, runName] = demo.stdout.trim().split('\n').at(-1)!.split(' ');

const take = async (page: Page, name: string, height = 640) => {
  const path = join(root, 'docs', 'images', `screen-${name}.png`);
  await page.screenshot({ path, animations: 'disabled', clip: { x: 0, y: 0, width: 1280, height } });
  console.log(relative(root, path));
};

/** At the sign-in page of the provider, with this address. */
async function arrive(address: string): Promise<Page> {
  const page = await browser!.newPage({ ignoreHTTPSErrors: true, viewport: { width: 1280, height: 640 } });
  await page.goto(url);
  await page.getByPlaceholder('you@example.com').fill(address);
  return page;
}

async function enter(page: Page): Promise<void> {
  await page.getByRole('button', { name: 'Sign in' }).click();
  // MLflow greets newcomers with an assistant, which is closed here, and with its side for language models.
  await page.getByRole('button', { name: 'Model training' }).click();
  await page.getByText('Welcome to MLflow Assistant').waitFor();
  await page.getByLabel('Close').last().click();
}

async function openRuns(page: Page): Promise<void> {
  await page.goto(`${url}/#/experiments/${experiment}/runs`);
  await page.getByText(runName).waitFor();
}

const someone = await arrive('someone@example.com');
await take(someone, 'sign-in', 260);
await enter(someone);
await openRuns(someone);
await take(someone, 'runs');
await someone.goto(`${url}/#/experiments/${experiment}/runs/${run}/model-metrics`);
await someone.getByText('Step', { exact: true }).waitFor();
await take(someone, 'metrics');

const reader = await arrive('ada@example.com');
await enter(reader);
await reader.getByRole('button', { name: /^Account menu for/ }).click();
await reader.getByRole('menuitem', { name: 'Account' }).click();
await reader.getByRole('cell', { name: 'reader', exact: true }).first().waitFor();
await take(reader, 'level');
await openRuns(reader);
await reader.getByRole('checkbox').nth(1).click();
await reader.getByRole('button', { name: 'Delete' }).click();
await reader.getByRole('dialog').getByRole('button', { name: 'Delete' }).click();
await reader.getByText('is a reader here').first().waitFor();
await take(reader, 'refusal');

const stranger = await arrive('ada@example.org');
await stranger.getByRole('button', { name: 'Sign in' }).click();
await stranger.getByText('this account may not enter').waitFor();
await take(stranger, 'not-allowed', 400);
await browser.close();
