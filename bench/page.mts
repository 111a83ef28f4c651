/** The load time and the bytes of MLflow's page in a browser, on a line of 20 Mbit/s and 40 ms. */

import { setTimeout as sleep } from 'node:timers/promises';
import type { Browser, BrowserContext } from 'playwright-core';
import { subject, why, type Server } from './servers.mjs';
import { someExperiment, someRun } from './store.mjs';
import { median, rounded, type Options, type Table } from './table.mjs';
import { launchBrowser } from '../local/checks/browser.mjs';

/** A load has ended after this many milliseconds without a request or answer. */
const silence = 2000;
const line = { offline: false, latency: 40, downloadThroughput: 20e6 / 8, uploadThroughput: 20e6 / 8 };

interface Load {
  readonly bytes: number;
  readonly requests: number;
  /** Seconds until the first content is visible. */
  readonly paint: number;
  /** Seconds until the last answer. */
  readonly quiet: number;
}

const caches = ['cold', 'warm'] as const;

export async function measurePage(servers: Server[], { quick }: Options): Promise<Table[]> {
  const browser = await launchBrowser();
  if (browser === undefined) {
    console.log('The page is skipped: Chromium is not installed.');
    return [];
  }
  const loads = new Map<string, Load[]>();
  for (const server of servers) {
    const place = await placeOf(server);
    const experiment = await someExperiment(server);
    const pages = {
      experiments: '/experiments',
      ...!quick && { 'the runs of an experiment': `/experiments/${experiment}/runs`, 'a run': `/experiments/${experiment}/runs/${await someRun(server)}` },
    };
    for (const [page, path] of Object.entries(pages)) {
      for (let time = 0; time < (quick ? 1 : 3); time += 1) {
        const context = await contextOf(browser, server);
        for (const cache of caches) {
          const key = [page, cache, server.name].join();
          loads.set(key, [...loads.get(key) ?? [], await open(context, `${place.url}/#${path}`)]);
        }
        await context.close();
      }
    }
    await place.stop();
  }
  await browser.close();

  const rows = [...new Set([...loads.keys()].map(key => key.split(',').slice(0, 2).join()))];
  const table = (title: string, show: (of: (what: keyof Load) => number) => string, worth: keyof Load): Table => ({
    title,
    rows: rows.map(row => {
      const [page, cache] = row.split(',');
      const of = (server: Server) => (what: keyof Load) => rounded(median(loads.get(`${row},${server.name}`)!.map(load => load[what])));
      const cells = Object.fromEntries(servers.map(server => [server.name, show(of(server))]));
      const speeds = Object.fromEntries(servers.map(server => [server.name, 1 / of(server)(worth)]));
      return { page, cache, ...cells, why: why(servers, speeds) };
    }),
  });
  return [
    table('Page: kB over the wire · requests', of => `${rounded(of('bytes') / 1000)} · ${of('requests')}`, 'bytes'),
    table('Page: seconds until something is to be seen · until all has come', of => `${of('paint')} · ${of('quiet')}`, 'quiet'),
  ];
}

/** A server that accepts requests of a page at its own URL. Servers of this library accept them only at the public name, so another one is started with the same settings. */
async function placeOf({ name, url, deployment }: Server): Promise<{ readonly url: string; stop(): Promise<void> }> {
  const { MLFLOW_WORKERS } = deployment.container('mlflow').env;
  return name === subject ? deployment.startStack({ env: { MLFLOW_WORKERS } }) : { url, stop: async () => undefined };
}

/** A browser without a cache, of a person who is signed in. */
async function contextOf(browser: Browser, { clients: { cookie } }: Server): Promise<BrowserContext> {
  const context = await browser.newContext({ viewport: { width: 1280, height: 800 } });
  await context.addCookies((cookie?.cookie ?? '').split('; ').filter(Boolean).map(pair => {
    const [name, value] = pair.split(/=(.*)/s);
    return { name, value, url: 'https://127.0.0.1', secure: true, httpOnly: true, sameSite: 'Lax' as const }; // cookies do not depend on ports, or on TLS on the loopback
  }));
  return context;
}

async function open(context: BrowserContext, address: string): Promise<Load> {
  const page = await context.newPage();
  const session = await context.newCDPSession(page);
  await session.send('Network.enable');
  await session.send('Network.emulateNetworkConditions', line);
  const began = Date.now();
  let [bytes, requests, last, lastEvent] = [0, 0, began, began];
  for (const event of ['Network.requestWillBeSent', 'Network.dataReceived'] as const) {
    session.on(event, () => { lastEvent = Date.now(); });
  }
  session.on('Network.loadingFinished', ({ encodedDataLength }) => {
    bytes += encodedDataLength;
    requests += encodedDataLength > 0 ? 1 : 0; // answers from the cache have no bytes
    last = lastEvent = Date.now();
  });
  const response = await page.goto(address);
  if (response?.status() !== 200) {
    throw new Error(`${address} answers ${response?.status()}`);
  }
  while (Date.now() - lastEvent < silence && Date.now() - began < 30_000) {
    await sleep(20);
  }
  const paint = await page.evaluate(() => performance.getEntriesByName('first-contentful-paint')[0]?.startTime ?? NaN);
  await page.close();
  return { bytes, requests, paint: paint / 1000, quiet: (last - began) / 1000 };
}
