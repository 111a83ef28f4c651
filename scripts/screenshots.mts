/** `npm run screenshots`, while `npm run try` runs: gives it something to show and takes the pictures docs/images/screen-*.png. */

import { readFileSync } from 'node:fs';
import { join, relative, resolve } from 'node:path';
import { execa } from 'execa';
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

const page = await browser.newPage({ ignoreHTTPSErrors: true, viewport: { width: 1280, height: 640 } });
const take = async (name: string, height = 640) => {
  const path = join(root, 'docs', 'images', `screen-${name}.png`);
  await page.screenshot({ path, animations: 'disabled', clip: { x: 0, y: 0, width: 1280, height } });
  console.log(relative(root, path));
};

await page.goto(url);
await page.getByPlaceholder('you@example.com').fill('someone@example.com');
await take('sign-in', 260);
await page.getByRole('button', { name: 'Sign in' }).click();

// MLflow greets newcomers with an assistant, which is closed here, and with its side for language models.
await page.getByRole('button', { name: 'Model training' }).click();
await page.getByText('Welcome to MLflow Assistant').waitFor();
await page.getByLabel('Close').last().click();
await page.goto(`${url}/#/experiments/${experiment}/runs`);
await page.getByText(runName).waitFor();
await take('runs');

await page.goto(`${url}/#/experiments/${experiment}/runs/${run}/model-metrics`);
await page.getByText('Step', { exact: true }).waitFor();
await take('metrics');
await browser.close();
