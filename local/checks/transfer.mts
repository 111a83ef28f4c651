/** Artifacts of clients whose network does not reach S3, with each value of `ArtifactTransfer`. */

import assert from 'node:assert/strict';
import { join } from 'node:path';
import type { Browser, Page } from 'playwright-core';
import { clickDownload, inBrowser, signInOnPage } from './browser.mjs';
import type { Checks } from './checks.mjs';
import { clientSettings, runOutside, type JobOptions } from './programs.mjs';
import { deadAddress } from '../clients/http.mjs';
import type { Deployment } from '../deployment.mjs';

interface Step {
  readonly step: string;
  readonly seconds: number;
  readonly error: string | null;
}

interface Run {
  readonly experimentId: string;
  readonly runId: string;
}

const file = 'notes.txt';

/** The error texts are those in docs/troubleshooting.md. */
export async function failsWithoutS3(checks: Checks, options: JobOptions): Promise<void> {
  checks.heading('A client that does not reach S3');
  // By default the client retries for more than twelve minutes.
  const { attempts, run, stderr } = await transfer(options, { MLFLOW_HTTP_REQUEST_MAX_RETRIES: '1' });
  const error = (step: string) => attempts.find(attempt => attempt.step === step)!.error;
  await checks.check('small uploads still go through the server', async () => assert.equal(error(`upload ${file}`), null));
  await checks.check('an upload in parts fails, with the error text in the pages', async () => assert.match(error('upload parts.bin')!, /^Failed to upload at least one part of /));
  await checks.check('a download fails, with the error text in the pages', async () => {
    assert.match(error(`download ${file}`)!, new RegExp(`^Failed to download artifacts from path '${file}', please ensure that the path is correct\\.`));
    assert.match(stderr, new RegExp(`Retrying 1 failed chunk\\(s\\) for ${file}\\. Retries remaining: 1`));
  });
  await inBrowser(browser => withoutS3(browser, options.deployment, async page => {
    await checks.check('the download button leads to an error page of the browser', async () => {
      await assert.rejects(clickDownload(page, options.deployment.url, { ...run, file }), /Timeout/);
      assert.match(await page.evaluate<string>('document.body.innerText'), /This site can.t be reached/);
    });
  }), options.deployment);
}

export async function worksWithoutS3(checks: Checks, options: JobOptions): Promise<void> {
  checks.heading('A client that does not reach S3, with transfers through the server');
  const { attempts, run } = await transfer(options, {});
  for (const { step, seconds, error } of attempts) {
    await checks.check(step, async () => {
      assert.equal(error, null);
      return `${seconds} s`;
    });
  }
  await checks.check('clients whose settings request signed URLs fall back to the server', async () => {
    const asked = { MLFLOW_ENABLE_PROXY_MULTIPART_UPLOAD: 'true', MLFLOW_ENABLE_PROXY_MULTIPART_DOWNLOAD: 'true' };
    const errors = (await transfer(options, asked)).attempts.map(({ error }) => error);
    assert.deepEqual(errors, [null, null, null, null]);
  });
  await inBrowser(browser => withoutS3(browser, options.deployment, async page => {
    await checks.check('the download button gets the file from the server', async () => {
      const { content, from } = await clickDownload(page, options.deployment.url, { ...run, file });
      assert.deepEqual([content.toString(), from], ['eleven byte', options.deployment.url]);
    });
  }), options.deployment);
}

/** Transfers artifacts with a client that cannot reach S3. */
export async function transfer({ deployment, token, python }: JobOptions, env: Record<string, string>) {
  const { stdout, stderr } = await runOutside(deployment, [python, join(import.meta.dirname, 'transfer.py')], {
    timeout: 300_000,
    env: {
      ...clientSettings(deployment, token),
      ...reachingOnly(deployment.url),
      MLFLOW_MULTIPART_UPLOAD_MINIMUM_FILE_SIZE: String(30 * 1024 * 1024),
      ...env,
    },
  });
  const lines = stdout.split('\n').filter(line => line.startsWith('{')).map(line => JSON.parse(line));
  return { attempts: lines.slice(0, -1) as Step[], run: lines.at(-1) as Run, stderr };
}

/** Both spellings, because programs read the lower-case names first, and this machine may have set them. */
export function reachingOnly(...urls: string[]): Record<string, string> {
  const settings = { HTTP_PROXY: deadAddress, HTTPS_PROXY: deadAddress, NO_PROXY: urls.map(url => new URL(url).hostname).join() };
  return Object.fromEntries(Object.entries(settings).flatMap(([name, value]) => [[name, value], [name.toLowerCase(), value]]));
}

async function withoutS3(browser: Browser, { url, s3 }: Deployment, use: (page: Page) => Promise<void>): Promise<void> {
  const context = await browser.newContext({ ignoreHTTPSErrors: true });
  await context.route(`${s3.bucketUrl}/**`, route => route.abort('addressunreachable'));
  const page = await context.newPage();
  await signInOnPage(page, url);
  await use(page);
}
