/** The verbatim world: the task is unchanged, each setting has its effect, and the task ends with wrong settings. */

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer, get, type ClientRequest } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import { execa } from 'execa';
import type { Checks } from './checks.mjs';
import { read } from './proc.mjs';
import type { ContainerDefinition } from '../aws/ecs.mjs';
import type { Deployment, TaskPlan } from '../deployment.mjs';
import { untilReady } from '../processes.mjs';
import { limitsMemory } from '../worlds/memory.mjs';
import type { Settings } from '../worlds/world.mjs';

/** Variables that the image and ECS add to the environment of a container. */
const ofEcs = ['AWS_CONTAINER_CREDENTIALS_RELATIVE_URI', 'PATH'];

type Change = (definition: ContainerDefinition) => ContainerDefinition;

/** Wrong settings, and the reason with which the task ends. */
const wrong: readonly [what: string, container: string, change: Change, ends: RegExp][] = [
  ['a host of the CA bundle that does not exist', 'prepare', set('PREPARE_CA_BUNDLE_URL', value => value.replace('truststore', 'trust')), /prepare FAILED: .*(resolve|resolution|not known)/],
  ['the CA bundle of another region', 'prepare', set('PREPARE_CA_BUNDLE_URL', value => value.replaceAll('eu-central-1', 'eu-west-1')), /prepare FAILED: .*404/],
  ['an issuer that does not exist', 'oauth2-proxy', set('OAUTH2_PROXY_OIDC_ISSUER_URL', () => 'https://login.example.com'), /essential container oauth2-proxy ended.*lookup login\.example\.com/s],
  ['a user who cannot write its files', 'prepare', definition => ({ ...definition, User: '10001:10001' }), /prepare had to succeed, but ended.*(Operation not permitted|Permission denied)/s],
  ['no volume for its files', 'mlflow', withoutMount('/tmp'), /essential container mlflow ended/],
  ['no volume with its programs', 'mlflow', withoutMount('/run/secure-mlflow'), /essential container mlflow ended/],
];

export async function checkWorld(checks: Checks, deployment: Deployment): Promise<void> {
  await checkContainers(checks, deployment);
  if (limitsMemory) {
    await checkMemory(checks, deployment);
  }
  await checkNetwork(checks, deployment);
  await checkFromOutside(checks, deployment);
  checks.heading('A task ends with');
  for (const [what, container, change, ends] of wrong) {
    await checks.check(what, async () => {
      const plan = deployment.nextTask({ change: definition => definition.Name === container ? change(definition) : definition });
      assert.match(await end(deployment, plan), ends);
    });
  }
}

async function checkContainers(checks: Checks, deployment: Deployment): Promise<void> {
  const { substitutions, template, task, containers, place } = deployment;
  const mlflow = deployment.container('mlflow');
  const inside = async (script: string) => (await place.run(mlflow, ['python', '-c', script], 20)).succeeded;
  checks.heading('The task as it is synthesised');
  await checks.check('differs from AWS only in the images', async () => {
    assert.deepEqual(substitutions.table.map(({ what }) => what), ['image', 'image']);
    const [synthesised] = template.all<{ ContainerDefinitions: ContainerDefinition[] }>('AWS::ECS::TaskDefinition');
    assert.deepEqual(containers.map(({ definition }) => definition), synthesised.ContainerDefinitions);
    for (const { definition: { EntryPoint = [], Command = [], Environment = [] }, command, env } of containers) {
      const declared = [...EntryPoint, ...Command];
      assert.deepEqual(command.slice(command.length - declared.length), declared);
      assert.deepEqual(Environment.filter(({ Name, Value }) => env[Name] !== Value), []);
    }
    for (const { Name, Environment = [], Secrets = [] } of ['mlflow', 'oauth2-proxy'].map(name => deployment.container(name).definition)) {
      const found = read(`/proc/${task.pid(Name)}/environ`).split('\0').filter(Boolean).map(setting => setting.split('=')[0]);
      const known = [...Environment, ...Secrets].map(setting => setting.Name);
      assert.deepEqual(found.filter(name => !known.includes(name)).sort(), ofEcs, Name);
    }
  });
  await checks.check('has containers with the users and capabilities that it declares', async () => {
    for (const name of ['mlflow', 'oauth2-proxy']) {
      const { definition: { User } } = deployment.container(name);
      const status = read(`/proc/${task.pid(name)}/status`);
      const ids = ['Uid', 'Gid'].map(id => new RegExp(`^${id}:\\s+(\\d+)`, 'm').exec(status)![1]).join(':');
      const capabilities = [...status.matchAll(/^Cap(Inh|Prm|Eff|Bnd|Amb):\s+(\w+)$/gm)].map(([, , set_]) => Number(`0x${set_}`));
      assert.deepEqual([ids, capabilities], [User, [0, 0, 0, 0, 0]], name);
    }
  });
  await checks.check('can write only to its volume, and sees no other container', async () => {
    const writes = (folder: string) => inside(`open("${folder}/of-a-check", "w")`);
    assert.deepEqual([await writes('/tmp'), await writes('/run/secure-mlflow')], [true, false]);
    const processes = 'open(file).read() for file in glob.glob("/proc/[0-9]*/comm")';
    const sees = (programs: string) => inside(`import glob; assert any(name in process for process in (${processes}) for name in ${programs})`);
    assert.deepEqual([await sees('["gunicorn", "python"]'), await sees('["oauth2", "postgres"]')], [true, false]);
  });
  // As root, who could otherwise do both.
  const attempt = (script: string, change: Change) => aside(deployment, { container: 'prepare', change }, run => run(script));
  await checks.check('does not allow root to write to its root file system (does without `ReadonlyRootFilesystem`)', async () => {
    const script = 'open("/of-a-check", "w")';
    const without: Change = definition => ({ ...definition, ReadonlyRootFilesystem: false });
    assert.deepEqual([await attempt(script, same => same), await attempt(script, without)], [false, true]);
  });
  await checks.check('does not allow root to change the owner of a file (does with the usual capabilities of a container)', async () => {
    const script = 'import os; open("/tmp/of-a-check", "w"); os.chown("/tmp/of-a-check", 1, 1)';
    const without: Change = definition => ({ ...definition, LinuxParameters: {} });
    assert.deepEqual([await attempt(script, same => same), await attempt(script, without)], [false, true]);
  });
}

async function checkMemory(checks: Checks, deployment: Deployment): Promise<void> {
  await checks.check('has the declared memory, for all its containers together', async () => {
    const declared = Number(deployment.template.single<{ Memory: string }>('AWS::ECS::TaskDefinition').Memory);
    const fits = (mebibytes: number) => aside(deployment, { container: 'mlflow' }, run => run(`bytes(b"x" * ${mebibytes} * 1024 * 1024)`));
    assert.deepEqual([await fits(Math.floor(declared * 0.4)), await fits(declared)], [true, false]);
  });
}

async function checkNetwork(checks: Checks, deployment: Deployment): Promise<void> {
  const { sites, s3, place, proxyUrl } = deployment;
  const mlflow = deployment.container('mlflow');
  const [databaseHost, databasePort] = sites.database.aws.split(':');
  const publicHost = new URL(sites.publicSite.aws).hostname;
  const connects = (host: string, port: number | string) => `import socket; socket.create_connection(("${host}", ${port}), 2)`;
  const inside = async (script: string, changes?: Settings) => (await place.run(mlflow, ['python', '-c', script], 30, changes)).succeeded;
  const inGroup = (group: string, script: string) => aside(deployment, { container: 'mlflow', securityGroups: [group] }, run => run(script));

  checks.heading('Its network');
  await checks.check('reaches the database, and other hosts on port 443', async () => {
    const hosts = [[databaseHost, databasePort], [new URL(sites.caBundle.aws).hostname, 443], ['169.254.170.2', 80]] as const;
    assert.deepEqual(await Promise.all(hosts.map(([host, port]) => inside(connects(host, port)))), [true, true, true]);
  });
  await checks.check('reaches no other port (does in a group that allows all outgoing traffic)', async () => {
    assert.deepEqual([await inside(connects(publicHost, 80)), await inGroup('sg-of-others', connects(publicHost, 80))], [false, true]);
  });
  await checks.check('does not reach the database from another security group', async () => {
    assert.deepEqual([await inGroup('sg-of-others', connects(publicHost, 443)), await inGroup('sg-of-others', connects(databaseHost, databasePort))], [true, false]);
  });
  await checks.check('is reached only by the load balancer', async () => {
    const answers = (localAddress: string) => new Promise<boolean>(resolve => {
      get(`${proxyUrl}/ping`, { localAddress, timeout: 3000, agent: false }, response => resolve(response.resume().statusCode === 200))
        .on('timeout', function (this: ClientRequest) { this.destroy(); }).on('error', () => resolve(false));
    });
    assert.deepEqual([await answers(sites.publicSite.listen.host), await answers(sites.caBundle.listen.host)], [true, false]);
  });
  await checks.check('stores artifacts at the host of the region (not at the global host, which newer regions refuse)', async () => {
    const script = `import boto3; boto3.client("s3").put_object(Bucket="${s3.bucketName}", Key="${s3.folder}/of-a-check", Body=b"x")`;
    assert.deepEqual([await inside(script), await inside(script, { AWS_ENDPOINT_URL_S3: 'https://s3.amazonaws.com' })], [true, false]);
  });
  await checks.check('listens where the load balancer reaches it (not on its loopback)', async () => {
    const plan = deployment.nextTask({ change: set('OAUTH2_PROXY_HTTP_ADDRESS', value => value.replace('0.0.0.0', '127.0.0.1')) });
    try {
      await plan.task.start(() => undefined);
      await assert.rejects(fetch(`${plan.url}/ping`, { signal: AbortSignal.timeout(3000) }));
    } finally {
      await deployment.stopTask(plan);
    }
  });
}

async function checkFromOutside(checks: Checks, deployment: Deployment): Promise<void> {
  const { sites, url, plainUrl, proxyUrl } = deployment;
  const reaches = async (address: string) => {
    const [program, ...args] = deployment.outside(['curl', '--silent', '--insecure', '--max-time', '2', '--output', '/dev/null', '--write-out', '%{http_code}', address]);
    return (await execa(program, args, { reject: false })).stdout;
  };
  const connects = async (address: string) => {
    const [program, ...args] = deployment.outside(['curl', '--silent', '--insecure', '--max-time', '2', '--output', '/dev/null', '--write-out', '%{time_connect}', address]);
    return Number((await execa(program, args, { reject: false })).stdout) > 0;
  };
  checks.heading('From the internet');
  await checks.check('the load balancer is reached on its two ports', async () => {
    assert.deepEqual(await Promise.all([`${url}/ping`, `${plainUrl}/ping`].map(reaches)), ['200', '301']);
  });
  await checks.check('none of its other ports, no task and no database is reached', async () => {
    const { host } = sites.publicSite.listen;
    const another = createServer((_, response) => response.end()).listen(8080, host);
    await once(another, 'listening');
    try {
      assert.equal((await fetch(`http://${host}:8080`)).status, 200, 'the server is not reached from here either');
      assert.deepEqual(await Promise.all([`http://${host}:8080`, `${proxyUrl}/ping`].map(reaches)), ['000', '000']);
      assert.deepEqual([await connects(url), await connects(`https://${sites.database.aws}`)], [true, false]);
    } finally {
      another.close();
    }
    const open = { container: 'mlflow', securityGroups: ['sg-of-others'], command: ['python', '-m', 'http.server', '4180', '--directory', '/tmp'] };
    await aside(deployment, open, async (_, address) => {
      const first = async () => assert.equal(await reaches(`http://${address}:4180`), '200');
      await first().catch(() => sleep(3000)).then(first); // until it listens
    });
    return 'a task in a group that allows all incoming traffic is reached';
  });
}

interface AsideOptions {
  readonly container: string;
  readonly command?: readonly string[];
  readonly change?: Change;
  readonly securityGroups?: readonly string[];
}

/** Runs Python in a container of a separate task, in which only one command runs. */
async function aside<T>(
  deployment: Deployment, { container, command = ['sleep', '60'], ...options }: AsideOptions,
  use: (run: (script: string) => Promise<boolean>, address: string) => Promise<T>,
): Promise<T> {
  const { place, containers, logs } = deployment.nextTask(options);
  await place.open();
  const waiting = { ...containers.find(({ definition }) => definition.Name === container)!, command: ['sh', '-c', 'echo It waits.; exec "$@"', 'sh', ...command] };
  const running = place.start(waiting, `${logs}/waiting.log`);
  try {
    await untilReady(running, container, async () => assert.match(running.lastLines(), /It waits/));
    return await use(async script => (await place.run(waiting, ['python', '-c', script], 20)).succeeded, place.address);
  } finally {
    await running.stop(0);
    await place.close();
  }
}

async function end(deployment: Deployment, plan: TaskPlan): Promise<string> {
  const failed = await deployment.startAdded(plan).then(() => undefined, (error: Error) => error.message);
  if (failed === undefined) {
    await deployment.stopTask(plan);
  }
  return failed ?? 'it runs';
}

function set(name: string, change: (value: string) => string): Change {
  return definition => ({
    ...definition, Environment: definition.Environment?.map(({ Name, Value }) => ({ Name, Value: Name === name ? change(Value) : Value })),
  });
}

function withoutMount(path: string): Change {
  return definition => ({ ...definition, MountPoints: definition.MountPoints?.filter(({ ContainerPath }) => ContainerPath !== path) });
}
