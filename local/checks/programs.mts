/** Jobs, notebooks and scripts. */

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { execa, type Options } from 'execa';
import type { RunWithImage } from './browser.mjs';
import type { Checks } from './checks.mjs';
import { bearer, json, type Send } from '../clients/http.mjs';
import type { Deployment } from '../deployment.mjs';

interface Step {
  readonly step: string;
  readonly seconds: number;
  readonly image?: RunWithImage;
}

/** The settings of a server for MLflow's client. */
export interface TrackingServer {
  readonly url: string;
  /** The certificate of its authority, if this machine does not trust it already. */
  readonly caFile?: string;
  /** Returns the command as users of the server run it. */
  outside?(command: readonly string[]): string[];
}

/** Options for a deployed server, of which less is known. */
interface PlainJobOptions {
  readonly deployment: TrackingServer;
  readonly token: string;
  readonly python: string;
  /** The name of the experiment and of the model. */
  readonly name?: string;
}

export interface JobOptions {
  readonly deployment: Deployment;
  readonly token: string;
  readonly python: string;
}

interface ProgramOptions extends JobOptions {
  readonly send: Send;
}

const steps = [
  'log parameters and metrics',
  'log an artifact of 200 MB',
  'get it back from S3 with the signed URL from MLflow',
  'get it back through the server',
  'log an artifact in parts with signed URLs',
  'log a figure',
  'log the model',
  'register it',
  'load it back and predict',
  'read parameters and metrics back',
];

/** Commands that are run exactly as they are in a page, with `sh` by default, and the text that they must print. */
export const pageCommands: { readonly page: string; readonly command: RegExp; readonly shows: string; readonly by?: string }[] = [
  { page: 'docs/tokens.md', command: /^curl -H .*$/m, shows: 'diabetes' },
  { page: 'docs/troubleshooting.md', command: /python3 -c '[^`]*' "\$MLFLOW_TRACKING_TOKEN"/, shows: 'someone@example.com' },
  { page: 'docs/sign-in-oidc.md', command: /^curl -s .*openid-configuration.*$/m, shows: 'https://<issuer>' },
  { page: 'docs/use-it.md', command: /(?<=```python\n).*?(?=```)/s, shows: 'logged', by: 'python' },
];

/** Returns the run that the job created. */
export async function checkPrograms(checks: Checks, { deployment, send, token, python }: ProgramOptions): Promise<RunWithImage | undefined> {
  const { url, caFile } = deployment;
  const image = await checkJob(checks, { deployment, token, python });
  await checks.check('the run names its author, also without levels', async () => {
    assert(image, 'the job has created no run');
    assert.equal(deployment.container('mlflow').env.SECURE_MLFLOW_ACCESS, undefined);
    const { body } = await send(`/api/2.0/mlflow/runs/get?run_id=${image.runId}`, { headers: bearer(token) });
    assert.equal((JSON.parse(body) as { run: { info: { user_id: string } } }).run.info.user_id, 'someone@example.com');
  });
  checks.heading('Other programs can');
  const search = '/api/2.0/mlflow/experiments/search?max_results=10';
  await checks.check('list the experiments with curl and a bearer token', async () => {
    const curl = ['curl', '--silent', '--show-error', '--fail', '--cacert', caFile, '--header', `Authorization: Bearer ${token}`, url + search];
    const { stdout } = await runOutside(deployment, curl);
    const names = (JSON.parse(stdout) as { experiments: { name: string }[] }).experiments.map(({ name }) => name);
    assert(names.includes('diabetes'), `experiments: ${names}`);
  });
  await checks.check('send the bearer token as a password', async () => {
    const { status } = await send(search, { headers: { authorization: `Basic ${Buffer.from(`x:${token}`).toString('base64')}` } });
    assert.equal(status, 200);
  });
  await checks.check('not use `bearer` in lower case, which gets 403', async () => {
    assert.equal((await send(search, { headers: { authorization: `bearer ${token}` } })).status, 403);
  });
  await checks.check('send OpenTelemetry traces', async () => {
    const trace = json({ resourceSpans: [] });
    const { status, body } = await send('/v1/traces', { ...trace, headers: { ...trace.headers, ...bearer(token), 'x-mlflow-experiment-id': '1' } });
    assert([200, 400].includes(status), `${status} ${body}`); // 400: no spans; 404 would mean that traces are not supported
  });

  checks.heading('The commands in the pages work');
  const env = { ...clientSettings(deployment, token), CURL_CA_BUNDLE: caFile, PATH: `${dirname(python)}:${process.env.PATH}` };
  for (const { page, command, shows, by = 'sh' } of pageCommands) {
    await checks.check(page, async () => {
      const [found] = command.exec(readFileSync(join(import.meta.dirname, '..', '..', page), 'utf8')) ?? [];
      assert(found, `there is no ${command}`);
      const here = (text: string) => text.replace('https://<issuer>', deployment.issuer.issuer);
      const { stdout } = await runOutside(deployment, [by, '-c', here(found)], { env });
      assert(stdout.includes(here(shows)), stdout);
    });
  }
  return image;
}

/** Runs a whole training job. Returns the run that it created. */
export async function checkJob(checks: Checks, { deployment, token, python, name = 'diabetes' }: PlainJobOptions): Promise<RunWithImage | undefined> {
  checks.heading('A training job with MLflow\'s client and a bearer token can');
  const job = await runOutside(deployment, [python, `${import.meta.dirname}/job.py`], {
    reject: false,
    timeout: 600_000,
    env: { ...clientSettings(deployment, token), MLFLOW_HTTP_REQUEST_MAX_RETRIES: '2', NAME_OF_A_CHECK: name },
  });
  const done = job.stdout.split('\n').filter(line => line.startsWith('{')).map(line => JSON.parse(line) as Step);
  for (const step of steps) {
    await checks.check(step, async () => {
      const found = done.find(candidate => candidate.step === step);
      assert(found, step === steps[done.length] ? lastLines(job.stderr) : 'not reached');
      return `${found.seconds} s`;
    });
  }
  return done.find(({ image }) => image)?.image;
}

/** Logs for some seconds and reads the data back. Returns how much was logged. */
export async function runLongJob(deployment: Deployment, python: string, seconds: number, env: Record<string, string>): Promise<string> {
  const { stdout } = await runOutside(deployment, [python, `${import.meta.dirname}/long_job.py`, String(seconds)], { timeout: 120_000, env });
  return stdout.split('\n').at(-1)!;
}

/** The environment variables for MLflow's client. */
export function clientSettings({ url, caFile }: TrackingServer, token: string): Record<string, string> {
  return { MLFLOW_TRACKING_URI: url, MLFLOW_TRACKING_TOKEN: token, ...caFile !== undefined && { MLFLOW_TRACKING_SERVER_CERT_PATH: caFile } };
}

/** Runs a program in the network of a server's users. */
export async function runOutside(
  server: Pick<TrackingServer, 'outside'>, command: readonly string[], options: Options = {},
): Promise<{ readonly stdout: string; readonly stderr: string }> {
  const [program, ...args] = server.outside?.(command) ?? command;
  const { stdout, stderr } = await execa(program, args, options);
  return { stdout: String(stdout), stderr: String(stderr) };
}

function lastLines(text: string): string {
  return text.trimEnd().split('\n').slice(-12).join('\n');
}
