/** People cannot get the keys of others, break the lists of others, or fill the disk of the server. */

import assert from 'node:assert/strict';
import { gateway, unique, webhooks, type DoorAttempt, type DoorSuite, type Side } from './suite.mjs';
import { bearer, json } from '../../clients/http.mjs';
import type { Arrival } from '../../providers/ai-provider.mjs';

const key = 'sk-of-the-owner';

export async function keysStayWithTheirOwners(suite: DoorSuite): Promise<void> {
  suite.checks.heading('A stored key is sent only to the address that its owner has entered');
  await suite.checks.check('(it is sent to that address)', async () => {
    const { open } = suite.sides;
    const endpoint = await suite.endpoint(open, { provider: 'openai', secret: { api_key: key }, config: configOf(suite, 'owner') });
    assert(holding(await suite.arrivals(() => suite.chat(open, endpoint)), '/owner/') !== undefined);
  });
  await notByAnotherPath(suite);
  await notByAnotherAddress(suite);
  await notToAnotherProvider(suite);
}

async function notByAnotherPath(suite: DoorSuite): Promise<void> {
  await suite.checks.check('not with a raw call whose path leaves the folder', async () => {
    for (const spelling of tidied) {
      assert.equal(await stolenByRawCall(suite, suite.call.bind(suite), spelling)(suite.sides.weak), undefined, spelling);
    }
    return 'also fails without the inner door: the proxy normalises the path';
  });
  await suite.variants(tidied, spelling => `not if the proxy accepted ${spelling}`, spelling => stolenByRawCall(suite, suite.callBehindTheProxy.bind(suite), spelling));
  await suite.variants(['%09../..%09', '.%09./.%09.'], spelling => `not with a raw call whose path leaves the folder with ${spelling}`, spelling => stolenByRawCall(suite, suite.call.bind(suite), spelling));
  await suite.attack('not with the name of a model, which is part of the URL', async side => stolen(suite, side, await suite.endpoint(side, {
    provider: 'azure', secret: { api_key: key }, config: { ...configOf(suite, 'owner'), api_version: '1' }, model: '../../../../thief',
  })));
}

async function notByAnotherAddress(suite: DoorSuite): Promise<void> {
  const own = configOf(suite, 'owner');
  const elsewhere = configOf(suite, 'thief');
  /** A key whose settings are changed after a model uses it. */
  const afterChange = (config: Record<string, string>, change: object): DoorAttempt => async side => {
    const secret = await suite.secret(side, 'openai', { api_key: key }, config);
    const endpoint = await suite.endpointOf(side, secret, 'openai');
    await suite.call(side, `${gateway}/secrets/update`, json({ secret_id: secret, ...change }));
    return stolen(suite, side, endpoint);
  };
  await suite.attack('not after another person has changed only the address', afterChange(own, { auth_config: elsewhere }));
  await suite.attack('not after another person has changed the address with an empty key', afterChange(own, { auth_config: elsewhere, secret_value: {} }));
  await suite.attack('not after another person has added an address where there was none', afterChange({}, { auth_config: elsewhere }));
  await suite.checks.check('not after another person has changed the address with another field', async () => {
    assert.equal(await afterChange(own, { auth_config: elsewhere, secret_value: { other: 'x' } })(suite.sides.open), undefined);
    return 'also fails without the inner door: the fields of a key are stored together';
  });
}

async function notToAnotherProvider(suite: DoorSuite): Promise<void> {
  /** Creates a model and changes it. */
  const changeModel = async (side: Side, provider: string, secret: string, change: object) => {
    const { model_definition: { model_definition_id: id } } = await suite.need<{ model_definition: { model_definition_id: string } }>(side, `${gateway}/model-definitions/create`, json({
      name: unique(), secret_id: secret, provider, model_name: 'played',
    }));
    await suite.need(side, `${gateway}/model-definitions/update`, json({ model_definition_id: id, ...change }));
  };
  await suite.attack('not to the provider of another model', async side => {
    const secret = await suite.secret(side, 'openai', { api_key: key }, {});
    await suite.endpointOf(side, secret, 'ollama');
    return 'a model of Ollama has the key of OpenAI, and sends it to port 11434 of the server';
  });
  await suite.attack('not to another provider to which a model is changed later', async side => {
    const secret = await suite.secret(side, 'openai', { api_key: key }, {});
    await changeModel(side, 'openai', secret, { provider: 'ollama' });
    return 'the model is a model of Ollama now';
  });
  await suite.attack('not to another provider whose model is given the key later', async side => {
    const mine = await suite.secret(side, 'databricks', { api_key: 'x' }, configOf(suite, 'thief'));
    const theirs = await suite.secret(side, 'openai', { api_key: key }, configOf(suite, 'owner'));
    await changeModel(side, 'databricks', mine, { secret_id: theirs });
    return 'the model of Databricks has the key of OpenAI';
  });
}

/** A folder of the provider, which stands for a different server. */
function configOf({ provider }: DoorSuite, listener: 'owner' | 'thief'): Record<string, string> {
  return { api_base: `${provider.url}/${listener}/v1` };
}

/** The data that a call sends to the thief. */
async function stolen(suite: DoorSuite, side: Side, endpoint: string): Promise<string | undefined> {
  return holding(await suite.arrivals(() => suite.chat(side, endpoint)), '/thief/');
}

const tidied = ['..%2f..', '%2e%2e/%2e%2e', '..%252f..'];

function stolenByRawCall(suite: DoorSuite, call: DoorSuite['call'], spelling: string): DoorAttempt {
  return async side => {
    const endpoint = await suite.endpoint(side, { provider: 'openai', secret: { api_key: key }, config: { api_base: `${suite.provider.url}/shared/owner/v1` } });
    return holding(await suite.arrivals(() => call(side, `/gateway/proxy/${endpoint}/${spelling}%2fthief%2fx`, json({}))), '/thief/');
  };
}

/** Prints the paths of a folder on the disks, and removes it. */
const removal = `
import os, shutil
for path in (f"{root}/{os.environ['OF_A_CHECK']}" for root in ("/tmp", "/dev/shm")):
    if os.path.exists(path):
        shutil.rmtree(path)
        print(path)`;

/** Data is stored only in the bucket and in the database, whatever a request asks for. */
export async function nothingIsLeftOnTheServer(suite: DoorSuite): Promise<void> {
  suite.checks.heading('Files of a run are not written to the disk of the server');
  const folder = unique();
  const places = [`/tmp/${folder}`, `/dev/shm/${folder}`, `file:///tmp/${folder}`, `file:/tmp/${folder}`, `file://localhost/tmp/${folder}`, `FILE:///tmp/${folder}`, folder, `./${folder}`, `~/${folder}`, ` /tmp/${folder}`];
  await suite.variants(places, place => place, place => async side => {
    const { experiment_id: experimentId } = await suite.need<{ experiment_id: string }>(side, '/api/2.0/mlflow/experiments/create', json({ name: unique(), artifact_location: place }));
    const { run } = await suite.need<{ run: { info: { run_id: string; artifact_uri: string } } }>(side, '/api/2.0/mlflow/runs/create', json({ experiment_id: experimentId }));
    const { status } = await suite.call(side, `/ajax-api/2.0/mlflow/upload-artifact?run_uuid=${run.info.run_id}&path=x.txt`, { method: 'POST', body: 'x', headers: { 'content-type': 'text/plain' } });
    const written = await suite.deployment.besideMlflow(removal, { OF_A_CHECK: folder });
    if (written !== '') {
      return `the file is in ${written}`;
    }
    return status === 200 && !run.info.artifact_uri.startsWith('mlflow-artifacts:') && !run.info.artifact_uri.startsWith('s3:') ? `status 200 for ${run.info.artifact_uri}` : undefined;
  }, suite.sides.real);
}

/** Webhooks with a secret: all processes of the server must be able to read them. `keyless` is a server of one process with its own key. */
export async function webhooksAreRead(suite: DoorSuite, keyless: Side): Promise<void> {
  const { checks, sides: { real, weak }, member } = suite;
  checks.heading('A webhook with a secret');
  await checks.check('can be read by every process, and does not break the list of others', async () => {
    const attempt = async (writer: Side, reader = writer) => {
      const created = await suite.need<{ webhook: { webhook_id: string } }>(writer, webhooks, json({
        name: unique(), url: 'https://93.184.216.34/', events: [{ entity: 'MODEL_VERSION', action: 'CREATED' }], secret: 'a secret of the owner',
      }));
      // One after the other, each with a new connection, which an idle process accepts.
      const answers = [];
      for (let asked = 0; asked < 24; asked += 1) {
        answers.push(await suite.callBehindTheProxy(reader, webhooks));
      }
      await writer.send(`${webhooks}/${created.webhook.webhook_id}`, { method: 'DELETE', headers: bearer(member.token) });
      const failed = answers.filter(({ status }) => status !== 200);
      return failed.length === 0 ? undefined : `${failed.length} of ${answers.length} lists answer ${failed[0].status}: ${failed[0].body.slice(0, 100)}`;
    };
    const found = await attempt(real);
    assert(found === undefined, found);
    assert(await attempt(keyless, weak) !== undefined, 'without a key all processes can read it, too, so this check proves nothing');
    return 'fails without a key';
  });
}

export async function theGatewayIsOff(suite: DoorSuite): Promise<void> {
  const { checks, sides } = suite;
  const chat = { messages: [{ role: 'user', content: 'hello' }] };
  const calls: [path: string, body: object][] = [
    ['/gateway/x/mlflow/invocations', chat], ['/gateway/mlflow/v1/chat/completions', { model: 'x', ...chat }], ['/gateway/openai/v1/chat/completions', { model: 'x', ...chat }],
    ['/gateway/openai/v1/embeddings', { model: 'x', input: 'x' }], ['/gateway/openai/v1/responses', { model: 'x', input: 'x' }], ['/gateway/openai/v1/responses/compact', { model: 'x' }],
    ['/gateway/typesafe/v1/systemone', { model: 'x' }], ['/gateway/anthropic/v1/messages', { model: 'x', ...chat }], ['/gateway/gemini/v1beta/models/x:generateContent', {}],
    ['/gateway/gemini/v1beta/models/x:streamGenerateContent', {}], ['/gateway/proxy/x/v1/x', {}],
    [`${gateway}/secrets/create`, { secret_name: unique(), secret_value: { api_key: 'x' }, provider: 'openai' }], [`${gateway}/secrets/update`, { secret_id: 'x' }],
    [`${gateway}/model-definitions/create`, { name: 'x', secret_id: 'x', provider: 'openai', model_name: 'x' }], [`${gateway}/endpoints/create`, { name: 'x', model_configs: [{ model_definition_id: 'x', linkage_type: 'PRIMARY' }] }],
    [`${gateway}/guardrails/create`, { name: 'x' }], [`${gateway}/budgets/create`, { budget_unit: 'USD' }],
  ];
  checks.heading('Where the AI gateway is off, MLflow does not serve its routes');
  await suite.variants(calls, ([path]) => path, ([path, body]) => async side => {
    const { status, body: answer } = await suite.call(side, path, json(body));
    return status === 501 ? undefined : `status ${status}: ${answer.slice(0, 100)}`;
  }, sides.real);
}

/** Whether a request to a folder of the provider contains the key of the owner. */
function holding(arrivals: Arrival[], folder: string): string | undefined {
  const found = arrivals.find(({ path, headers }) => path.startsWith(folder) && headers.some(value => value.includes(key)));
  return found && `${found.path} has received ${key}`;
}

