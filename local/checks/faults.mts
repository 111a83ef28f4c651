/** What clients see during failures. Acknowledged writes must not be lost. */

import assert from 'node:assert/strict';
import { createHash, type Hash } from 'node:crypto';
import { Readable } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import { search, statusOfSearch } from './api.mjs';
import type { Checks } from './checks.mjs';
import { Load } from './load.mjs';
import { mostMeanwhile, processesOf, residentMiB } from './proc.mjs';
import { lifetime } from '../aws/issuer.mjs';
import { bearer, get, put, withToken, type Send } from '../clients/http.mjs';
import { Person } from '../clients/person.mjs';
import type { Deployment, TaskPlan } from '../deployment.mjs';

const artifacts = '/api/2.0/mlflow-artifacts/artifacts/faults';
const MiB = 1024 * 1024;

/** The task that currently serves. */
type Serving = Pick<TaskPlan, 'task' | 'url'>;

export async function checkFaults(checks: Checks, deployment: Deployment, send: Send, token: string): Promise<void> {
  checks.heading('Database');
  await checkDatabase(checks, deployment, send, token);
  checks.heading('S3');
  await checkS3(checks, deployment, send, token);
  checks.heading('Sign-in provider');
  await checkProvider(checks, deployment, send, token);

  checks.heading('Processes');
  let task = await checkKilled(checks, deployment, send, token);
  task = await checkStopped(checks, deployment, token, task);
  task = await checkFullDisk(checks, deployment, send, token, task);

  checks.heading('Clocks');
  await checks.check('bearer tokens of an hour are accepted if the clock of their issuer is five minutes fast or slow', () => takeSkewedTokens(deployment, send));

  checks.heading('Load');
  await checkLoad(checks, deployment, send, token, task);
}

async function checkDatabase(checks: Checks, deployment: Deployment, send: Send, token: string): Promise<void> {
  const { database } = deployment;
  await checks.check('restarted under load', async () => {
    const load = await Load.begin(send, token, { clients: 8 });
    await sleep(2000);
    await database.stop();
    await sleep(5000);
    await database.resume();
    await sleep(5000);
    await load.end();
    await load.assertNothingLost();
    return load.summary;
  });
  await checks.check('not available for 40 s at the start of a task, as when it resumes: the task waits and starts', async () => {
    await database.stop();
    const started = Date.now();
    const starting = deployment.addTask();
    await sleep(40_000);
    await database.resume();
    const late = await starting;
    await deployment.stopTask(late);
    return `healthy after ${Math.round((Date.now() - started) / 1000)} s`;
  });
}

async function checkS3(checks: Checks, { s3 }: Deployment, send: Send, token: string): Promise<void> {
  for (const code of [500, 503]) {
    await checks.check(`answers ${code}: an upload fails with an error, and works again afterwards`, async () => {
      await s3.fault({ status: code });
      const during = await upload(send, token, `s3-${code}.txt`);
      await s3.fault();
      await sleep(500); // MLflow closes the connection after such an error. Until the proxy has detected that, it answers 502 once
      const after = await upload(send, token, `s3-${code}.txt`);
      assert(during >= 500 && after === 200, `${during}, then ${after}`);
      return `${during}, then ${after}`;
    });
  }
  await checks.check('needs 3 s for each answer: uploads take longer, other requests do not', async () => {
    await s3.fault({ delay: 3 });
    const uploads = Promise.all(Array.from({ length: 8 }, (_, index) => upload(send, token, `slow-${index}.txt`)));
    const others = await Promise.all(Array.from({ length: 20 }, () => statusOfSearch(send, bearer(token))));
    assert.deepEqual([...new Set(others)], [200]);
    assert.deepEqual([...new Set(await uploads)], [200]);
    await s3.fault();
  });
}

async function checkProvider(checks: Checks, deployment: Deployment, send: Send, token: string): Promise<void> {
  const { issuer, url } = deployment;
  await checks.check('down: sessions and bearer tokens still work, signing in fails, and works again afterwards', async () => {
    const person = await Person.meet('someone@example.com');
    const late = await Person.meet('someone@example.com');
    try {
      await person.open(`${url}/`);
      issuer.stop();
      assert.equal((await person.http.get(url + search)).status(), 200, 'session');
      assert.equal(await statusOfSearch(send, bearer(token)), 200, 'token');
      await assert.rejects(late.open(`${url}/`));
      await issuer.start();
      assert.equal((await late.open(`${url}/`)).status, 200, 'signing in again');
    } finally {
      await person.leave();
      await late.leave();
    }
  });
  await checks.check('down at the start of a task: the proxy logs the reason and the task ends, so that ECS starts another', async () => {
    issuer.stop();
    try {
      await assert.rejects(deployment.addTask(), new RegExp(`essential container oauth2-proxy ended[^]*${issuer.issuer}`));
    } finally {
      await issuer.start();
    }
  });
}

/** Returns the task that has replaced the killed ones. */
async function checkKilled(checks: Checks, deployment: Deployment, send: Send, token: string): Promise<Serving> {
  let task: Serving = { task: deployment.task, url: deployment.proxyUrl };
  for (const container of ['mlflow', 'oauth2-proxy']) {
    await checks.check(`${container} killed under load: the task ends, and the next one serves`, async () => {
      const load = await Load.begin(send, token, { clients: 8 });
      await sleep(1000);
      process.kill(task.task.pid(container), 'SIGKILL');
      assert.match(await task.task.ended, new RegExp(`^essential container ${container} ended`));
      task = await replace(deployment, task);
      await sleep(1000);
      await load.end();
      await load.assertNothingLost();
      return load.summary;
    });
  }
  return task;
}

/** Returns the next task. */
async function checkStopped(checks: Checks, deployment: Deployment, token: string, task: Serving): Promise<Serving> {
  let next = task;
  await checks.check('a task stopped during an upload of 200 MB: the upload succeeds, then the task ends', async () => {
    const body = Buffer.alloc(200 * MiB, 'x');
    const sending = put(deployment, token, `${artifacts}/stopped.bin`, Readable.from(chunks(body)), body.length);
    await sleep(500);
    const started = Date.now();
    const stopping = deployment.stopTask(task);
    assert.equal(await sending, 200);
    await stopping;
    const seconds = ((Date.now() - started) / 1000).toFixed(1);
    assert((await deployment.s3.objects()).some(({ key, size }) => key.endsWith('stopped.bin') && size === body.length));
    next = await deployment.addTask();
    return `stopped ${seconds} s after the request`;
  });
  return next;
}

/** Uses a separate task. Returns the task after it. */
async function checkFullDisk(checks: Checks, deployment: Deployment, send: Send, token: string, task: Serving): Promise<Serving> {
  await deployment.stopTask(task);
  const small = await deployment.addTask({ diskMiB: 64 }).catch((error: Error) => error);
  if (small instanceof Error) {
    console.log(`  - skipped, the disk of the task is full: a small disk cannot be mounted on this machine, ${small.message.split('\n')[0]}`);
    return deployment.addTask();
  }
  await checks.check('the disk of the task is full: uploads that do not fit fail, other requests succeed', async () => {
    const body = Buffer.alloc(100 * MiB, 'x');
    const tooLarge = await put(deployment, token, `${artifacts}/full.bin`, Readable.from(chunks(body)), body.length);
    const fitting = await upload(send, token, 'small.txt');
    assert(tooLarge >= 500, String(tooLarge));
    assert.deepEqual([fitting, await statusOfSearch(send, bearer(token))], [200, 200]);
    return `${tooLarge}, then ${fitting}`;
  });
  return replace(deployment, small);
}

async function takeSkewedTokens({ clients, issuer }: Deployment, send: Send): Promise<void> {
  const claims = { iss: issuer.issuer, aud: clients.proxy.id, sub: '1', email: 'someone@example.com', email_verified: true, hd: 'example.com' };
  for (const skew of [-295, 295]) {
    const now = lifetime(0).iat! + skew;
    const skewed = await issuer.key.sign({ ...claims, iat: now, nbf: now, exp: now + 3600 });
    assert.equal(await statusOfSearch(send, bearer(skewed)), 200, `${skew} s`);
  }
}

async function checkLoad(checks: Checks, deployment: Deployment, send: Send, token: string, task: Serving): Promise<void> {
  await checks.check('100 clients log for one minute', async () => {
    const load = await Load.begin(send, token, { clients: 100, pause: 0 });
    await sleep(60_000);
    await load.end();
    await load.assertNothingLost();
    assert.equal(load.refused, 0, load.summary);
    return `${load.summary}, ${Math.round(load.acknowledged.length / 60)} a second; ${largest(task)} MiB in the largest process`;
  });
  await checks.check('an artifact of 2 GiB is uploaded and downloaded through the server with constant memory', async () => {
    const size = 2048 * MiB;
    const before = largest(task);
    const most = await mostMeanwhile(() => largest(task), async () => {
      const sent = createHash('sha256');
      assert.equal(await put(deployment, token, `${artifacts}/large.bin`, Readable.from(pattern(size, sent)), size), 200);
      const received = createHash('sha256');
      let length = 0;
      await get(deployment, token, `${artifacts}/large.bin`, chunk => {
        received.update(chunk);
        length += chunk.length;
      });
      assert.equal(length, size);
      assert.equal(received.digest('hex'), sent.digest('hex'));
    });
    assert(most - before < 300, `${before} MiB before, ${most} at most`);
    return `${before} MiB before, ${most} at most`;
  });
}

/** Replaces a task that has ended, as ECS does. */
async function replace(deployment: Deployment, task: Serving): Promise<Serving> {
  await deployment.stopTask(task);
  return deployment.addTask();
}

/** Uploads a file of one byte. Returns the status. */
async function upload(send: Send, token: string, name: string): Promise<number> {
  return (await send(`${artifacts}/${name}`, withToken(token, { method: 'PUT', body: 'x' }))).status;
}

/** Resident memory of the largest process of the servers. */
function largest({ task }: Serving): number {
  return Math.max(...['mlflow', 'oauth2-proxy'].flatMap(container => processesOf(task.pid(container))).map(residentMiB));
}

function* chunks(body: Buffer): Generator<Buffer> {
  for (let start = 0; start < body.length; start += MiB) {
    yield body.subarray(start, start + MiB);
  }
}

/** A stream of that many bytes, which are not kept in memory. The hash is updated on the way. */
function* pattern(size: number, hash: Hash): Generator<Buffer> {
  for (let block = 0; block < size / MiB; block += 1) {
    const chunk = Buffer.alloc(MiB, String(block));
    hash.update(chunk);
    yield chunk;
  }
}
