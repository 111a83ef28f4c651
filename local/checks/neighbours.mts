/** A load balancer that services share: which service gets which requests, and whether the owner's settings are those that MLflow needs. */

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { Readable } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import { assistant, search } from './api.mjs';
import type { Checks } from './checks.mjs';
import { redirectsToHttps, signsIn } from './people.mjs';
import type { JobOptions } from './programs.mjs';
import { PlayedServer } from '../aws/played-server.mjs';
import type { Template } from '../aws/template.mjs';
import { bearer, client, put } from '../clients/http.mjs';
import { Person } from '../clients/person.mjs';
import type { Deployment } from '../deployment.mjs';
import { freePort } from '../processes.mjs';

const otherHost = 'other.example.com';
/** The default idle timeout of a load balancer. */
const defaultSeconds = 60;
const stallSeconds = 70;

/** A stand-in for the task of the other service. */
class Neighbour extends PlayedServer {
  readonly requests: { readonly path: string; readonly headers: IncomingMessage['headers'] }[] = [];

  protected async answer({ url, headers }: IncomingMessage, response: ServerResponse): Promise<void> {
    this.requests.push({ path: url!, headers });
    response.end('the neighbour');
  }
}

export async function checkNeighbours(checks: Checks, { deployment, token }: JobOptions): Promise<void> {
  const { url, caFile, front, template } = deployment;
  const send = client(url, readFileSync(caFile, 'utf8'));
  const at = (host: string, path: string, headers = {}) => send(path, { headers: { host, ...headers } });
  const address = `http://127.0.0.1:${await freePort()}`;
  const neighbour = new Neighbour(address);
  await neighbour.start();
  await front.targetGroup(targetGroupOf(template, otherHost)).register(address, () => undefined);
  neighbour.requests.length = 0; // the health check

  checks.heading(`With another service at the same listener, during an upload that pauses for ${stallSeconds} s`);
  const uploadsEnd = await stallUploads(deployment, token);
  await checks.check('requests for its host reach only the other service', async () => {
    const answers = await Promise.all([otherHost, otherHost.toUpperCase(), `${otherHost}:443`].map(host => at(host, '/marked')));
    assert.deepEqual(answers.map(({ status, body }) => [status, body]), Array(3).fill([200, 'the neighbour']));
    assert.deepEqual(neighbour.requests.map(({ path }) => path), Array(3).fill('/marked'));
    await send('/for-mlflow');
    for (let tries = 0; tries < 50 && !deployment.log('oauth2-proxy').includes('/for-mlflow'); tries += 1) {
      await sleep(100); // until the lines are written to the file
    }
    const log = deployment.log('oauth2-proxy');
    assert(log.includes('/for-mlflow'), 'requests to MLflow leave no line, so this check proves nothing');
    assert(!log.includes('/marked'), 'MLflow has received them, too');
  });
  await checks.check('requests for MLflow\'s host reach only MLflow, whatever other headers are sent', async () => {
    const before = neighbour.requests.length;
    for (const headers of [{}, { 'x-forwarded-host': otherHost }, { forwarded: `host=${otherHost}` }]) {
      const { status, body } = await send(search, { headers: { ...bearer(token), ...headers } });
      assert.deepEqual([status, Object.keys(JSON.parse(body))[0]], [200, 'experiments']);
      assert.equal((await send(search, { headers })).status, 401);
    }
    const person = await Person.meet('someone@example.com');
    await signsIn(person, url);
    await person.leave();
    assert.equal(neighbour.requests.length, before);
  });
  await checks.check('any other host gets the default answer of the listener', async () => {
    for (const host of ['unknown.example.com', `x.${otherHost}`, 'mlflow.example.com.evil.example']) {
      const { status, body } = await at(host, search, bearer(token));
      assert.deepEqual([host, status, body], [host, 404, '']);
    }
  });
  await checks.check('the assistant is closed at MLflow\'s host, but the other service keeps that path', async () => {
    const { status, body } = await send(assistant, { headers: bearer(token) });
    assert.deepEqual([status, body], [403, 'The assistant is closed.']);
    assert.equal((await at(otherHost, assistant)).body, 'the neighbour');
  });
  await checks.check('answers tell browsers to use only HTTPS, and port 80 redirects', async () => {
    assert.equal((await send('/')).headers['strict-transport-security'], 'max-age=31536000');
    await redirectsToHttps(deployment);
  });
  await checks.check('in the template, the certificate of the host is added to the listener, and only the load balancer reaches the tasks', async () => opensTasksToLoadBalancer(template));
  await checks.check(`the upload succeeds; with an idle timeout of ${defaultSeconds} s it fails`, uploadsEnd);
  neighbour.stop();
}

interface Rule {
  readonly Conditions: { readonly HostHeaderConfig?: { readonly Values: string[] } }[];
  readonly Actions: { readonly TargetGroupArn: string }[];
}

/** Checks the template, because this example runs without simulated networks. */
function opensTasksToLoadBalancer(template: Template): void {
  const [{ SecurityGroups: [loadBalancer] }] = template.all<{ SecurityGroups: string[] }>('AWS::ElasticLoadBalancingV2::LoadBalancer');
  const added = template.single<{ Certificates: { CertificateArn: string }[] }>('AWS::ElasticLoadBalancingV2::ListenerCertificate');
  const [{ CertificateArn }] = added.Certificates;
  assert.equal(template.properties<{ DomainName: string }>(CertificateArn).DomainName, 'mlflow.example.com');
  const ingress = template.all<{ FromPort: number; SourceSecurityGroupId: string }>('AWS::EC2::SecurityGroupIngress');
  assert.deepEqual(ingress.filter(({ FromPort }) => FromPort === 4180).map(({ SourceSecurityGroupId }) => SourceSecurityGroupId), [loadBalancer]);
}

/** The target group of the rule for a host. */
function targetGroupOf(template: Template, host: string): string {
  const hosts = ({ Conditions }: Rule) => Conditions.flatMap(({ HostHeaderConfig }) => HostHeaderConfig?.Values ?? []);
  return template.all<Rule>('AWS::ElasticLoadBalancingV2::ListenerRule').find(rule => hosts(rule).includes(host))!.Actions[0].TargetGroupArn;
}

/** Begins an upload through the load balancer, and another through one with the default idle timeout. */
async function stallUploads(deployment: Deployment, token: string): Promise<() => Promise<string>> {
  const impatient = await deployment.startFront(defaultSeconds);
  const [upload, cut] = [deployment.url, impatient.url].map((url, index) => {
    const path = `/api/2.0/mlflow-artifacts/artifacts/neighbours/stalled-${index}.bin`;
    return put({ url, caFile: deployment.caFile }, token, path, Readable.from(stalled()), 2 * 1024).catch((error: Error) => error.message); // otherwise an early failure would be unhandled
  });
  return async () => {
    const [status, withDefault] = await Promise.all([upload, cut]);
    impatient.stop();
    assert.equal(status, 200);
    assert.notEqual(withDefault, 200);
    return String(withDefault);
  };
}

async function* stalled(): AsyncGenerator<Buffer> {
  yield Buffer.alloc(1024, 'a');
  await sleep(stallSeconds * 1000);
  yield Buffer.alloc(1024, 'b');
}
