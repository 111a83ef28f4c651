/** A person's use of a real browser, from the sign-in to the sign-out. Skipped, with a line that says so, if Chromium is not installed. */

import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { execa } from 'execa';
import { chromium, type Browser, type BrowserContext, type Page } from 'playwright-core';
import type { Checks } from './checks.mjs';
import { isSessionCookie } from '../clients/person.mjs';
import type { Deployment } from '../deployment.mjs';

/** A run that has logged an image. */
export interface RunWithImage {
  readonly experimentId: string;
  readonly runId: string;
  readonly image: string;
}

interface LoggedFile {
  readonly experimentId: string;
  readonly runId: string;
  readonly file: string;
}

export async function checkBrowser(checks: Checks, deployment: Deployment, run: RunWithImage | undefined): Promise<void> {
  const { url, issuer, s3 } = deployment;
  checks.heading('In a browser a person');
  await inBrowser(async browser => {
    const context = await browser.newContext({ ignoreHTTPSErrors: true, viewport: { width: 1280, height: 800 } });
    const page = await context.newPage();
    const strangers: string[] = [];
    page.on('request', request => {
      const { origin, protocol } = new URL(request.url());
      if (![url, issuer.issuer, s3.bucketUrl].includes(origin) && protocol.startsWith('http')) {
        strangers.push(origin);
      }
    });

    await checkLinks(checks, browser, page, url);
    await checks.check('creates an experiment', () => createsExperiment(page, url));
    await checks.check('sees an image that a run has logged', async () => {
      assert(run, 'the job has logged no image');
      await seesImage(page, url, run);
    });
    await checks.check('gets a file from S3 with the download button', async () => {
      assert(run, 'the job has logged no image');
      const { content, from } = await clickDownload(page, url, { ...run, file: run.image });
      assert.deepEqual([content.subarray(1, 4).toString(), from], ['PNG', s3.bucketUrl]);
    });
    await checks.check('a page of another site cannot write with this session', () => writesNothingForOthers(context, url));
    await checks.check('signs out, and has no session any more', () => signsOut(context, url));
    await checks.check('has sent requests only to the server, the sign-in provider and S3', async () => {
      assert.deepEqual(strangers, []);
    });
  }, deployment);
}

/** The page to which a link leads after the sign-in. Afterwards the page is signed in. */
async function checkLinks(checks: Checks, browser: Browser, page: Page, url: string): Promise<void> {
  const complaints: string[] = [];
  page.on('console', message => /Content.Security.Policy/i.test(message.text()) && complaints.push(message.text()));
  await checks.check('opens a link from another person, signs in, and gets to the page of the link', async () => {
    const link = `${url}/#/experiments/0/runs?searchFilter=${encodeURIComponent('params.größe > "1" and tags.x != "a/b"')}`;
    await signInOnPage(page, link);
    assert.equal(page.url(), link);
    assert.deepEqual(complaints, []);
  });
  await checks.check('gets to the start page if the link is too long for a provider', async () => {
    const other = await browser.newContext({ ignoreHTTPSErrors: true });
    const tab = await other.newPage();
    await signInOnPage(tab, `${url}/#/experiments/0/runs?searchFilter=${'x'.repeat(3000)}`);
    assert.equal(tab.url(), `${url}/`);
    await other.close();
  });
  await checks.check('does not loop if the sign-in leads back to itself', async () => {
    const other = await browser.newContext({ ignoreHTTPSErrors: true });
    const tab = await other.newPage();
    let tries = 0;
    await tab.route('**/oauth2/start?*', route => {
      tries += 1;
      return route.fulfill({ status: 302, headers: { location: '/#/experiments/0' } }); // as if the new session were not accepted
    });
    await tab.goto(`${url}/#/experiments/0`);
    await tab.getByRole('link', { name: 'Sign in' }).waitFor();
    await sleep(2000);
    assert.equal(tries, 1);
    assert.match(await tab.getByRole('link').getAttribute('href') ?? '', /\?rd=%2f%23%2Fexperiments%2F0$/);
    await other.close();
  });
}

/** Opens a browser, in the network of the deployment's users if a deployment is given. Prints a line if there is no browser. */
export async function inBrowser(use: (browser: Browser) => Promise<void>, deployment?: Deployment): Promise<void> {
  const browser = await launchBrowser({ deployment });
  if (browser === undefined) {
    console.log('  - skipped: Chromium is not installed');
    return;
  }
  try {
    await use(browser);
  } finally {
    await browser.close();
  }
}

/** Opens a file of a run and saves it. Throws if the page does not offer that. */
export async function clickDownload(page: Page, url: string, { experimentId, runId, file }: LoggedFile): Promise<{ content: Buffer; from: string }> {
  await page.goto(`${url}/#/experiments/${experimentId}/runs/${runId}/artifacts/${file}`);
  const [download] = await Promise.all([
    page.waitForEvent('download', { timeout: 15_000 }),
    page.locator('button[data-component-id$="artifactview.tsx_337"]').click(), // the button has no name
  ]);
  return { content: readFileSync(await download.path()), from: new URL(download.url()).origin };
}

export async function signInOnPage(page: Page, url: string): Promise<void> {
  await page.goto(url);
  await page.getByPlaceholder('you@example.com').fill('someone@example.com');
  await page.getByRole('button', { name: 'Sign in' }).click();
  await page.getByText('Experiments').first().waitFor();
}

async function createsExperiment(page: Page, url: string): Promise<void> {
  await page.goto(`${url}/#/experiments`);
  await page.getByRole('button', { name: 'Create', exact: true }).click();
  const dialog = page.getByRole('dialog', { name: 'Create Experiment' });
  await dialog.getByPlaceholder('Input an experiment name').fill('made by hand');
  await dialog.getByRole('button', { name: 'Create' }).click();
  await page.waitForURL(/#\/experiments\/\d+/);
}

async function seesImage(page: Page, url: string, { experimentId, runId, image }: RunWithImage): Promise<void> {
  await page.goto(`${url}/#/experiments/${experimentId}/runs/${runId}/artifacts/${image}`);
  // `waitForFunction` is not used, because it runs text as code, which the policy of the page does not allow.
  const shown = () => page.evaluate<boolean>('Array.from(document.images).some(image => image.naturalWidth > 300)');
  for (let tries = 0; tries < 150 && !await shown(); tries += 1) {
    await sleep(200);
  }
  assert(await shown(), 'no image is shown');
}

async function writesNothingForOthers(context: BrowserContext, url: string): Promise<void> {
  const visitor = await context.newPage();
  // The only field of the form makes the body valid JSON. The URL is of another site than the server.
  await visitor.route('http://evil.example/', route => route.fulfill({
    contentType: 'text/html',
    body: `<form method="post" enctype="text/plain" action="${url}/ajax-api/2.0/mlflow/experiments/create">
      <input name='{"name": "forged in the browser", "x": "' value='"}'></form><script>document.forms[0].submit()</script>`,
  }));
  const answer = visitor.waitForResponse(response => response.request().method() === 'POST');
  await visitor.goto('http://evil.example/');
  assert.equal((await answer).status(), 401); // because of SameSite=Lax, the browser has not sent the cookie
  await visitor.close();
  const found = await context.request.get(`${url}/ajax-api/2.0/mlflow/experiments/get-by-name?experiment_name=forged+in+the+browser`);
  assert.equal(found.status(), 404);
}

async function signsOut(context: BrowserContext, url: string): Promise<void> {
  await context.request.get(`${url}/oauth2/sign_out`, { maxRedirects: 0 });
  const left = (await context.cookies(url)).map(({ name }) => name).filter(isSessionCookie);
  assert.deepEqual(left, []);
  assert.equal((await context.request.get(`${url}/ajax-api/2.0/mlflow/experiments/search?max_results=1`)).status(), 401);
}

interface LaunchOptions {
  /** The browser runs in the network of this deployment's users. */
  readonly deployment?: Deployment;
  /** URLs that the browser treats as secure although they have no TLS. It always does so for the loopback. */
  readonly trusted?: readonly string[];
}

/** Starts Chromium, if it is installed. */
export async function launchBrowser({ deployment, trusted = [] }: LaunchOptions = {}): Promise<Browser | undefined> {
  for (const name of ['chromium', 'chromium-browser', 'google-chrome']) {
    const found = await execa('sh', ['-c', `command -v ${name}`], { reject: false });
    if (!found.failed) {
      const args = [
        ...process.getuid!() === 0 ? ['--no-sandbox'] : [], // its own sandbox does not run as root
        ...trusted.length > 0 ? [`--unsafely-treat-insecure-origin-as-secure=${trusted.join()}`] : [],
      ];
      return chromium.launch({ executablePath: deployment === undefined ? found.stdout : programOutside(deployment, found.stdout), args });
    }
  }
  return undefined;
}

/** Writes a program that runs another one outside the VPC, because Playwright cannot start a command line. */
function programOutside(deployment: Deployment, program: string): string {
  const file = join(deployment.logs, 'outside.sh');
  writeFileSync(file, `#!/bin/sh\nexec ${deployment.outside([program]).join(' ')} "$@"\n`, { mode: 0o700 });
  return file;
}
