/** `npm run site` builds the pages of docs/ as a site in .try/site, with the generator of site/, and looks at it in a browser, where there is one. */

import assert from 'node:assert/strict';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { execa } from 'execa';
import type { BrowserContext, Page } from 'playwright-core';
import { root } from './steps.mjs';
import { launchBrowser } from '../local/checks/browser.mjs';
import { Checks } from '../local/checks/checks.mjs';
import { once } from '../local/install.mjs';

const source = join(root, 'site');
const built = join(root, '.try', 'site');
/** Where the built files are shown. No server is needed: the browser gets them from the disk. */
const address = 'https://site.example/cdk-secure-mlflow/';

interface Seen {
  readonly title: string;
  readonly anchors: string[];
  readonly links: string[];
}

export async function checkSite(): Promise<Checks> {
  const checks = new Checks();
  checks.heading('The site');
  await checks.check('is built, and no page links to one that is missing', build);
  if (checks.failed > 0) {
    return checks;
  }
  const browser = await launchBrowser();
  if (browser === undefined) {
    console.log('  - links, search and what the pages load are left out: there is no Chromium');
    return checks;
  }
  try {
    await checkInBrowser(checks, await browser.newContext());
  } finally {
    await browser.close();
  }
  return checks;
}

async function build(): Promise<void> {
  const modules = join(source, 'node_modules');
  await once(modules, [readFileSync(join(source, 'package-lock.json'), 'utf8')], async () => {
    await execa('npm', ['ci', '--ignore-scripts', '--no-audit', '--no-fund'], { cwd: source }); // none of the scripts is needed
  });
  await execa('vitepress', ['build'], { cwd: source, preferLocal: true, localDir: source });
}

async function checkInBrowser(checks: Checks, context: BrowserContext): Promise<void> {
  const missing: string[] = [];
  const strangers: string[] = [];
  await context.route('**', async route => {
    const [url] = route.request().url().split('#');
    const file = join(built, url.slice(address.length) || 'index.html');
    if (url.startsWith(address) && existsSync(file)) {
      return route.fulfill({ path: file });
    }
    (url.startsWith(address) ? missing : strangers).push(url);
    return route.abort();
  });
  const page = await context.newPage();
  const errors: string[] = [];
  page.on('pageerror', error => errors.push(`${page.url()} ${error.message}`));

  const seen = new Map<string, Seen>();
  await checks.check('has every page of docs/', async () => {
    const pages = readdirSync(join(root, 'docs'), { recursive: true, encoding: 'utf8' }).filter(name => name.endsWith('.md'));
    for (const name of pages) {
      const url = address + name.replace(/README\.md$/, 'index.md').replace(/\.md$/, '.html');
      seen.set(url, await look(page, url));
      assert.equal(seen.get(url)!.title, titleOf(name), name);
    }
    return `${pages.length} pages`;
  });
  await checks.check('has no link that leads nowhere', async () => {
    const links = [...seen].flatMap(([url, { links: found }]) => found.filter(link => link.startsWith(address)).map(link => ({ url, link })));
    const dead = links.filter(({ link }) => {
      const [target, anchor] = link.split('#');
      const there = seen.get(target.endsWith('/') ? `${target}index.html` : target);
      return there === undefined || (anchor && !there.anchors.includes(decodeURIComponent(anchor)));
    });
    assert.deepEqual(dead, []);
    return `${links.length} links`;
  });
  await checks.check('finds a page by a word', () => search(page, 'Valkey', 'sessions.html'));
  await checks.check('loads nothing that is missing and nothing from elsewhere, and runs without an error', async () => {
    assert.deepEqual({ missing, strangers, errors }, { missing: [], strangers: [], errors: [] });
  });
}

async function look(page: Page, url: string): Promise<Seen> {
  await page.goto(url, { waitUntil: 'load' });
  return page.evaluate<Seen>(`({
    title: document.title,
    anchors: Array.from(document.querySelectorAll('[id]'), ({ id }) => id),
    links: Array.from(document.querySelectorAll('a[href]'), ({ href }) => href),
  })`);
}

function titleOf(name: string): string {
  return `${/^# (.*)/m.exec(readFileSync(join(root, 'docs', name), 'utf8'))![1].replaceAll('`', '')} | cdk-secure-mlflow`;
}

async function search(page: Page, word: string, expected: string): Promise<void> {
  await page.goto(address);
  await page.locator('#local-search button').click();
  await page.locator('#localsearch-input').fill(word);
  const result = page.locator(`.VPLocalSearchBox a[href*="${expected}"]`).first();
  await result.waitFor({ timeout: 10_000 });
}

if (process.argv[1] === import.meta.filename) {
  process.exitCode = Math.min((await checkSite()).failed, 1);
}
