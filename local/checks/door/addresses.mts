/** On behalf of people, the server connects only to public addresses, with any provider, any field and any redirect. */

import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { serviceAccount, unique, webhooks, type DoorAttempt, type DoorSuite, type Side } from './suite.mjs';
import { json } from '../../clients/http.mjs';
import { isFree } from '../../processes.mjs';
import { AiProvider, spoken } from '../../providers/ai-provider.mjs';

/** A way to make the server connect to a target, with its title. */
type Way = readonly [title: string, endpoint: (suite: DoorSuite, side: Side, target: string) => Promise<string>, call?: Call];
type Call = (suite: DoorSuite, side: Side, endpoint: string) => Promise<unknown>;

const chat: Call = (suite, side, endpoint) => suite.chat(side, endpoint);

const vertex = (suite: DoorSuite, side: Side, tokenUri: string, config: Record<string, string> = {}, model = 'gemini-2.5-flash') => suite.endpoint(side, {
  provider: 'vertex_ai', secret: { vertex_credentials: serviceAccount(tokenUri) }, config: { vertex_project: 'played', ...config }, model,
});
const based = (provider: string, config: Record<string, string> = {}): Way => [`api_base of ${provider}${config.api_type ? ` for ${config.api_type}` : ''}`, (suite, side, target) => suite.endpoint(side, { provider, config: { api_base: `${target}/v1`, ...config } })];
const machine = (suite: DoorSuite, side: Side, host: string) => suite.endpoint(side, {
  provider: 'databricks', secret: { client_secret: 'sk-of-the-owner' }, config: { auth_mode: 'oauth_m2m', client_id: '1', api_base: host },
});

/** `target` is the origin of a stand-in for a server of the internal network. */
const ways: Way[] = [
  ['token_uri of Vertex AI', (suite, side, target) => vertex(suite, side, `${target}/token`)],
  ...[301, 302, 307, 308].map((status): Way => [`token_uri of Vertex AI, redirected with ${status}`, (suite, side, target) => vertex(suite, side, suite.provider.redirect(`${target}/token`, status))]),
  ['token_uri of Vertex AI, redirected twice', (suite, side, target) => vertex(suite, side, suite.provider.redirect(suite.provider.redirect(`${target}/token`, 307), 307))],
  ['token_uri of Vertex AI, for a model of Anthropic', (suite, side, target) => vertex(suite, side, `${target}/token`, {}, 'claude-sonnet-4-5')],
  ['token_uri of Vertex AI, for a model of Mistral', (suite, side, target) => vertex(suite, side, `${target}/token`, {}, 'mistral-small-2503')],
  ...['{host}/?x=', '{host}#', 'x@{host}/', '{host}/..;'].map((location): Way => [`vertex_location ${location}`, (suite, side, target) =>
    vertex(suite, side, `${suite.provider.url}/token`, { vertex_location: location.replace('{host}', new URL(target).host) })]),
  ['vertex_location for a model of Anthropic', (suite, side, target) => vertex(suite, side, `${suite.provider.url}/token`, { vertex_location: `${new URL(target).host}/?x=` }, 'claude-sonnet-4-5')],
  ['aws_region_name of Bedrock', (suite, side, target) => suite.endpoint(side, { provider: 'bedrock', config: { auth_mode: 'api_key', aws_region_name: `x@${new URL(target).host}/?x=` }, model: 'anthropic.claude' })],
  based('openai'), based('openai', { api_type: 'azure', deployment_name: 'x', api_version: '1' }), based('azure', { api_version: '1' }), based('anthropic'), based('ollama'), based('portkey'), based('groq'), based('databricks'),
  ['api_base of typesafe', (suite, side, target) => suite.endpoint(side, { provider: 'typesafe', config: { api_base: target } }),
    (suite, side, endpoint) => suite.call(side, '/gateway/typesafe/v1/systemone', json({ model: endpoint, state: {}, questions: [] }))],
  ['discovery of Databricks, redirected', (suite, side, target) => machine(suite, side, suite.provider.redirect(target))],
  ['the token_endpoint in the discovery of Databricks', (suite, side, target) => machine(suite, side, suite.provider.discovery(`${target}/token`))],
];

/** Spellings of the loopback. */
const spellings = ['localhost', '0.0.0.0', '[::ffff:127.0.0.1]', '[::ffff:7f00:1]', '127.1', '2130706433', '0x7f000001', '017700000001', 'LOCALHOST'];

/** MLflow treats it as public. No server answers there. */
const multicast = '224.0.0.1';

/** Addresses that no task should reach on behalf of a person: credentials, metadata, the internal network. */
const closed = ['169.254.170.2', '169.254.169.254', '10.0.0.1', '172.16.0.1', '192.168.0.1', '100.64.0.1', '[fd00:ec2::254]', '[fe80::1]', '[::1]', '[64:ff9b::a9fe:aa02]', '[2002:a9fe:aa02::1]', multicast, '255.255.255.255'];

export async function noPrivateAddressIsFetched(suite: DoorSuite): Promise<void> {
  const { checks, inner } = suite;
  checks.heading('The server does not connect to a private server for');
  await suite.variants(ways, ([title]) => title, ([, endpoint, call]) => reaches(suite, side => endpoint(suite, side, inner.url), inner, call));

  checks.heading('The server does not connect to the loopback as token_uri');
  const spelled = (host: string) => inner.url.replace('127.0.0.1', host);
  await suite.variants(spellings, host => host, host => reaches(suite, side => vertex(suite, side, `${spelled(host)}/token`)));
  checks.heading('The server does not connect to the loopback as api_base');
  await suite.variants(spellings, host => host, host => reaches(suite, side => suite.endpoint(side, { provider: 'openai', config: { api_base: `${spelled(host)}/v1` } })));

  checks.heading('People cannot');
  await nothingAroundIsRead(suite);
  await noCallIsLedElsewhere(suite);
  await checks.check('make the server fetch artifacts from an internal server', () => fetchesNoArtifacts(suite));

  checks.heading('Connections are refused before they are made, with a line in the log, to');
  for (const host of closed) {
    await checks.check(host, async () => {
      for (const endpoint of [
        await vertex(suite, suite.sides.open, `http://${host}/token`),
        await vertex(suite, suite.sides.open, `https://${host}/token`),
        await suite.endpoint(suite.sides.open, { provider: 'openai', config: { api_base: `http://${host}/v1` } }),
      ]) {
        await isRefusedWithALine(suite, host, endpoint);
      }
    });
  }
}

/** An answer of an internal server, a file, another program in the task. */
async function nothingAroundIsRead(suite: DoorSuite): Promise<void> {
  const { deployment, inner, provider } = suite;
  await suite.attack('read an answer of an internal server from the error of a stream', async side => {
    const endpoint = await vertex(suite, side, provider.redirect(`${inner.url}/secret-of-the-network`, 302));
    const { body } = await suite.chat(side, endpoint, { stream: true });
    return body.includes(spoken) ? body.slice(0, 200) : undefined;
  });
  await suite.attack('make the server read a file that contains a key', async side => {
    const file = join(deployment.container('mlflow').env.TMPDIR, `${unique()}.json`);
    writeFileSync(deployment.onDisk('mlflow', file), serviceAccount(`${provider.url}/read-from-a-file/token`), { mode: 0o644 });
    const endpoint = await suite.endpoint(side, { provider: 'vertex_ai', secret: { vertex_credentials: file }, config: { vertex_project: 'played' }, model: 'gemini-2.5-flash' });
    const arrivals = await suite.arrivals(() => suite.chat(side, endpoint));
    return arrivals.some(({ path }) => path.startsWith('/read-from-a-file')) ? `the server has read ${file}` : undefined;
  });
  const ollama = 11434;
  if (deployment.verbatim || await isFree(ollama)) {
    const local = new AiProvider(`http://127.0.0.1:${ollama}`);
    await local.start((server, port) => deployment.place.listen(server, port));
    await suite.attack('reach another program in the task with MLflow\'s default URL of Ollama', reaches(suite, side => suite.endpoint(side, { provider: 'ollama' }), local));
    local.stop();
  } else {
    console.log(`  - skipped, reach another program in the task with MLflow's default URL of Ollama: port ${ollama} of this machine is in use`);
  }
}

async function noCallIsLedElsewhere(suite: DoorSuite): Promise<void> {
  const { checks, inner, provider, sides: { open } } = suite;
  await checks.check('send a call to another server with the redirect of a provider', async () => {
    const got = await reaches(suite, side => suite.endpoint(side, { provider: 'openai', config: { api_base: provider.redirect(inner.url, 307) } }))(open);
    assert.equal(got, undefined);
    return 'MLflow does not follow redirects';
  });
  await checks.check('send a call to another server with the path of a raw call', async () => {
    const { host, port } = new URL(inner.url);
    for (const path of [`@${host}/x`, `/${host}/x`, `%2f%2f${host}/x`, `..%2f..%2f@${host}`, `:${port}/x`]) {
      const endpoint = await suite.endpoint(open, { provider: 'openai', config: { api_base: `${provider.url}/v1` } });
      const before = inner.connections;
      await suite.call(open, `/gateway/proxy/${endpoint}/${path}`, json({ messages: [] }));
      assert.equal(inner.connections, before, path);
    }
    return 'also fails without the inner door';
  });
}

async function fetchesNoArtifacts(suite: DoorSuite): Promise<string> {
  const { inner, sides: { open } } = suite;
  for (const scheme of ['http', 'https', 'ftp', 'sftp', 'hdfs', 'dbfs', 'mlflow-artifacts', 's3', 'wasbs']) {
    const before = inner.connections;
    const location = inner.url.replace('http:', `${scheme}:`);
    const { status, body } = await suite.call(open, '/api/2.0/mlflow/experiments/create', json({ name: unique(), artifact_location: location }));
    if (status === 200) {
      const { experiment_id: experimentId } = JSON.parse(body) as { experiment_id: string };
      const { run } = await suite.need<{ run: { info: { run_id: string } } }>(open, '/api/2.0/mlflow/runs/create', json({ experiment_id: experimentId }));
      await suite.call(open, `/api/2.0/mlflow/artifacts/list?run_id=${run.info.run_id}`);
      await suite.call(open, `/get-artifact?run_uuid=${run.info.run_id}&path=x`);
    }
    assert.equal(inner.connections, before, location);
  }
  return 'also fails without the inner door';
}

async function isRefusedWithALine(suite: DoorSuite, host: string, endpoint: string): Promise<void> {
  const printed = () => suite.deployment.log('servers-beside');
  const before = printed().length;
  const started = Date.now();
  const { status, body } = await Promise.race([suite.chat(suite.sides.open, endpoint), late()]);
  assert(status >= 400, `${status}: ${body}`);
  const line = (text: string) => text.startsWith('secure-mlflow refused a connection') && text.includes(host.replace(/[[\]]/g, ''));
  let log = '';
  for (let tries = 0; tries < 20 && !log.split('\n').some(line); tries += 1) { // the line may be written after the answer
    await sleep(100);
    log = printed().slice(before);
  }
  assert(log.split('\n').some(line), `no line about it, ${status} after ${Date.now() - started} ms: ${body.slice(0, 200)}`);
}

/** Whether a call makes the server connect to the internal server, even if it sends no valid request. */
function reaches(suite: DoorSuite, endpointOf: (side: Side) => Promise<string>, target = suite.inner, call = chat): DoorAttempt {
  return async side => {
    const before = target.connections;
    const endpoint = await endpointOf(side);
    const arrivals = await suite.arrivals(() => call(suite, side, endpoint), target);
    if (target.connections === before) {
      return undefined;
    }
    return arrivals.length > 0 ? `${arrivals[0].method} ${arrivals[0].path} has arrived` : 'the server has connected';
  };
}

async function late(): Promise<never> {
  await new Promise(resolve => { setTimeout(resolve, 10_000).unref(); });
  throw new Error('no answer after 10 s');
}

/** MLflow itself checks webhooks. `unchecked` is a server where it does not. */
export async function noPrivateWebhook(suite: DoorSuite, unchecked: Side): Promise<void> {
  const { checks, inner, sides: { real } } = suite;
  const create = (side: Side, url: string) => suite.call(side, webhooks, json({ name: unique(), url, events: [{ entity: 'MODEL_VERSION', action: 'CREATED' }] }));
  checks.heading('Webhooks are not sent to');
  for (const host of [...spellings, ...closed].filter(address => address !== multicast)) {
    await checks.check(host, async () => {
      const { status, body } = await create(real, `https://${host}/`);
      assert.equal(status, 400, body);
      assert.equal((await create(unchecked, `https://${host}/`)).status, 200, 'this also fails where MLflow does not check, so this check proves nothing');
      return 'succeeds where MLflow does not check';
    });
  }
  await checks.check('the loopback, by a webhook that is already stored', async () => {
    const { body } = await create(unchecked, inner.url.replace('http:', 'https:'));
    const { webhook } = JSON.parse(body) as { webhook: { webhook_id: string } };
    const connections = async (side: Side) => {
      const before = inner.connections;
      await suite.call(side, `${webhooks}/${webhook.webhook_id}/test`, json({}));
      return inner.connections - before;
    };
    assert.equal(await connections(real), 0);
    assert.notEqual(await connections(unchecked), 0, 'this also fails where MLflow does not check, so this check proves nothing');
    return 'succeeds where MLflow does not check';
  });
}
