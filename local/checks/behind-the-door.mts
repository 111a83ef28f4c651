/**
 * Attacks by people who have signed in, and by data that they have stored, which must fail. Each attack is tried on the real server and on a server
 * without the inner door, where it must succeed. The AI gateway is off by default, so the attacks on it use a server where it is on.
 */

import { readFileSync } from 'node:fs';
import { privateProvider } from './access/gateway.mjs';
import { launchBrowser } from './browser.mjs';
import type { Checks } from './checks.mjs';
import { createCertificate } from '../aws/certificates.mjs';
import { client, type Send } from '../clients/http.mjs';
import { withoutDoor, type Deployment } from '../deployment.mjs';
import { freePort } from '../processes.mjs';
import { AiProvider } from '../providers/ai-provider.mjs';
import { noPrivateAddressIsFetched, noPrivateWebhook } from './door/addresses.mjs';
import { keysStayWithTheirOwners, nothingIsLeftOnTheServer, theGatewayIsOff, webhooksAreRead } from './door/colleagues.mjs';
import { answersAreGuarded } from './door/headers.mjs';
import { nobodyIsSomebody, noOtherSiteWrites } from './door/identity.mjs';
import { nobodyStopsTheServer, requestsStaySmall } from './door/limits.mjs';
import { pagesWork } from './door/pages.mjs';
import { nothingOfTheSignInLeaves } from './door/sign-in.mjs';
import { noStoredScriptRuns, reportsAreShown } from './door/stored-scripts.mjs';
import { DoorSuite, type Side } from './door/suite.mjs';

const aiHost = 'ai.example.com';

export async function checkBehindTheDoor(checks: Checks, deployment: Deployment): Promise<void> {
  const { place } = deployment;
  const provider = new AiProvider(await deployment.site('AI provider', `https://${aiHost}`), await createCertificate([aiHost]));
  const inner = new AiProvider(`http://127.0.0.1:${await freePort()}`);
  await Promise.all([provider.start(), inner.start((server, port) => place.listen(server, port))]);
  const gateway = { MLFLOW_ENABLE_AI_GATEWAY: 'true', ...privateProvider(provider.url) };
  const open = await deployment.startStack({ env: gateway });
  const weak = await deployment.startStack({ ...withoutDoor, env: { ...withoutDoor.env, ...gateway } });
  const mlflow = await place.expose(Number(deployment.container('mlflow').env.MLFLOW_PORT));
  const suite = await DoorSuite.create(checks, deployment, { real: realSide(deployment, mlflow.url), open, weak }, provider, inner);

  await nobodyIsSomebody(suite);
  await noOtherSiteWrites(suite);
  await answersAreGuarded(suite);
  await theGatewayIsOff(suite);
  await nothingOfTheSignInLeaves(suite);
  await noPrivateAddressIsFetched(suite);
  await keysStayWithTheirOwners(suite);
  await nothingIsLeftOnTheServer(suite);
  await requestsStaySmall(suite);
  await nobodyStopsTheServer(suite);
  await inABrowser(suite);
  // Last, because no other process can read or remove the secrets that this server stores. It also does not check where webhooks are sent.
  const keyless = await deployment.startStack({ ...withoutDoor, env: { ...withoutDoor.env, MLFLOW_WORKERS: '1', MLFLOW_WEBHOOK_ALLOW_PRIVATE_IPS: 'true' } });
  await noPrivateWebhook(suite, keyless);
  await webhooksAreRead(suite, keyless);

  provider.stop();
  inner.stop();
  await Promise.all([open.stop(), weak.stop(), keyless.stop(), mlflow.stop()]);
}

async function inABrowser(suite: DoorSuite): Promise<void> {
  const browser = await launchBrowser({ trusted: Object.values(suite.sides).map(({ url }) => url) });
  if (browser === undefined) {
    suite.checks.heading('MLflow\'s page');
    console.log('  - skipped: Chromium is not installed');
    return;
  }
  try {
    await reportsAreShown(suite, browser);
    await pagesWork(suite, browser);
    await noStoredScriptRuns(suite, browser);
  } finally {
    await browser.close();
  }
}

function realSide(deployment: Deployment, address: string): Side {
  const { url, caFile, task } = deployment;
  const host = deployment.container('mlflow').env.MLFLOW_SERVER_ALLOWED_HOSTS;
  const toMlflow = client(address);
  const send: Send = (path, message) => toMlflow(path, { ...message, headers: { host, ...message?.headers } });
  return { url, send: client(url, readFileSync(caFile, 'utf8')), server: { url: address, host, send, pid: task.pid('mlflow') } };
}
