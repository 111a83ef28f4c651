/** Attempts to leave the folder for artifacts. None may read, write, list or delete other data, in the bucket or on the server. */

import assert from 'node:assert/strict';
import { execa } from 'execa';
import type { Checks } from './checks.mjs';
import { json, withToken, type Message, type Send } from '../clients/http.mjs';
import type { Deployment } from '../deployment.mjs';

const canary = 'outside/canary.txt';
const content = 'the canary sings';

const ways = [
  `../${canary}`, `..%2f${canary.replace('/', '%2f')}`, `%2e%2e/${canary}`, `%2e%2e%2f${canary}`, `..%252f${canary}`, `%252e%252e%252f${canary}`, `a/../../${canary}`, `a/%2e%2e/%2e%2e/${canary}`, `..%5c${canary}`, `..\\${canary}`,
  `....//${canary}`, `./../${canary}`, `/${canary}`, `//${canary}`, `%2f${canary}`, `..;/${canary}`, `a/..%00/../${canary}`, `%c0%ae%c0%ae/${canary}`, '/etc/passwd', '%2fetc%2fpasswd', '../../../../etc/passwd', 'file:///etc/passwd', 'file:%2f%2f%2fetc%2fpasswd',
  `s3://bucket/${canary}`, `s3:%2f%2fbucket%2f${canary}`,
];

/** Sends a request as a person who has signed in. */
type Ask = (path: string, message?: Message) => Promise<{ readonly status: number; readonly body: string }>;
/** Fails if an answer contains data from outside, or if data outside has changed. */
type Unharmed = (body: string) => Promise<void>;

export async function checkTraversal(checks: Checks, deployment: Deployment, send: Send, token: string): Promise<void> {
  const { s3: { bucketName } } = deployment;
  const ask = (path: string, message?: Message) => send(path, withToken(token, message));
  const unharmed = await watchOutside(deployment);

  checks.heading(`Outside the folder for artifacts, with ${ways.length} spellings, people cannot`);
  for (const base of ['/api/2.0/mlflow-artifacts', '/ajax-api/2.0/mlflow-artifacts']) {
    await checkPaths(checks, base, ask, unharmed);
  }

  checks.heading('As a second defence, the role of the task cannot');
  await checks.check('read, write, list or delete outside its folder, or in another bucket', async () => {
    await roleStaysInFolder(deployment);
    await unharmed('');
  });

  checks.heading('With their own run or experiment, people cannot');
  for (const location of ['file:///etc', '/etc', 'file:///proc/self', `s3://${bucketName}/outside`, 's3://another-bucket/x', 'http://127.0.0.1:5000/', 'mlflow-artifacts:/../outside', 'mlflow-artifacts:///%2e%2e/outside', 'dbfs:/x', 'hdfs://x/y', 'sftp://x/y']) {
    await checks.check(`read data at ${location}`, () => readThroughRun(location, ask, unharmed));
  }

  checks.heading('With a version of a model, people cannot');
  await ask('/api/2.0/mlflow/registered-models/create', json({ name: 'traversal' }));
  for (const source of ['file:///etc', '/etc', 'file:///proc/self', 'file://localhost/etc', `s3://${bucketName}/outside`, 'mlflow-artifacts:/../outside', 'mlflow-artifacts:/%2e%2e/outside', '../../../../etc', 'models:/../../etc', 'http://127.0.0.1:5000/']) {
    await checks.check(`read data at ${source}`, () => readThroughModel(source, ask, unharmed));
  }
}

/** Stores a canary outside the folder. */
async function watchOutside({ s3 }: Deployment): Promise<Unharmed> {
  await s3.put(canary, content);
  const outside = async () => (await s3.objects()).filter(({ key }) => !key.startsWith(`${s3.folder}/`));
  const before = await outside();
  return async body => {
    const leaks = [content, 'root:', 'PGPASSWORD', `"file_size": ${content.length}\n`, '"path": "passwd"', '"path": "environ"'];
    assert.deepEqual(leaks.filter(leak => body.includes(leak)), [], body.slice(0, 300));
    assert.deepEqual(await outside(), before);
  };
}

async function checkPaths(checks: Checks, base: string, ask: Ask, unharmed: Unharmed): Promise<void> {
  const everyWay = (title: string, attempt: (way: string) => ReturnType<Ask>) =>
    checks.check(`${title} (${base})`, () => tryAll(ways, attempt, unharmed));
  await everyWay('download', way => ask(`${base}/artifacts/${way}`));
  await everyWay('upload', way => ask(`${base}/artifacts/${way}`, { method: 'PUT', body: 'overwritten' }));
  await everyWay('delete', way => ask(`${base}/artifacts/${way}`, { method: 'DELETE' }));
  await everyWay('list', way => ask(`${base}/artifacts?path=${way.replace('/canary.txt', '')}`));
  await everyWay('get a signed URL', async way => {
    const answer = await ask(`${base}/presigned/${way}`);
    const { url } = answer.status === 200 ? JSON.parse(answer.body) as { url: string } : { url: undefined };
    return url === undefined ? answer : { ...answer, body: await (await fetch(url)).text() };
  });
  await everyWay('begin an upload in parts', way => ask(`${base}/mpu/create/${way}`, json({ path: 'x', num_parts: 1 })));
}

async function readThroughRun(location: string, ask: Ask, unharmed: Unharmed): Promise<string> {
  const created = await ask('/api/2.0/mlflow/experiments/create', json({ name: `at ${location}`, artifact_location: location }));
  if (created.status !== 200) {
    return answered([created.status]);
  }
  const { experiment_id: experimentId } = JSON.parse(created.body) as { experiment_id: string };
  const { body: made } = await ask('/api/2.0/mlflow/runs/create', json({ experiment_id: experimentId }));
  const { run: { info: { run_id: run } } } = JSON.parse(made) as { run: { info: { run_id: string } } };
  const list = `/ajax-api/2.0/mlflow/artifacts/list?run_id=${run}`;
  const paths = ['passwd', 'environ', 'canary.txt', '../../passwd', '../../../../../../etc/passwd'];
  return tryAll([...paths.flatMap(path => [`/get-artifact?run_uuid=${run}&path=${path}`, `${list}&path=${path}`]), list], ask, unharmed);
}

async function readThroughModel(source: string, ask: Ask, unharmed: Unharmed): Promise<string> {
  const created = await ask('/api/2.0/mlflow/model-versions/create', json({ name: 'traversal', source }));
  if (created.status !== 200) {
    return answered([created.status]);
  }
  const { model_version: { version } } = JSON.parse(created.body) as { model_version: { version: string } };
  const paths = ['passwd', 'environ', 'canary.txt', '../../etc/passwd'];
  return tryAll(paths.map(path => `/model-versions/get-artifact?name=traversal&version=${version}&path=${path}`), ask, unharmed);
}

async function tryAll(all: string[], attempt: (one: string) => ReturnType<Ask>, unharmed: Unharmed): Promise<string> {
  const statuses: number[] = [];
  for (const one of all) {
    const { status, body } = await attempt(one);
    statuses.push(status);
    await unharmed(body);
  }
  return answered(statuses);
}

function answered(statuses: number[]): string {
  return `answers ${[...new Set(statuses)].sort().join(', ')}`;
}

/** Sends requests to S3 with the credentials of the task's role. */
export async function roleStaysInFolder({ s3, taskRole }: Deployment): Promise<void> {
  const credentials = JSON.parse(await s3.credentials(taskRole)) as { AccessKeyId: string; SecretAccessKey: string; Token: string };
  const { stdout } = await execa(s3.python, [`${import.meta.dirname}/second_wall.py`, s3.endpoint, s3.bucketName, s3.folder, canary], {
    env: { AWS_ACCESS_KEY_ID: credentials.AccessKeyId, AWS_SECRET_ACCESS_KEY: credentials.SecretAccessKey, AWS_SESSION_TOKEN: credentials.Token },
  });
  assert.deepEqual(JSON.parse(stdout), { inside: Array(4).fill('ok'), outside: Array(6).fill('AccessDenied'), elsewhere: Array(4).fill('AccessDenied') });
}
