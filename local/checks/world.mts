/** The verbatim world: that nothing of the task is changed, what stands behind each setting, and that it fails with a wrong one. */

import assert from 'node:assert/strict';
import type { Checks } from './checks.mjs';
import { read } from './proc.mjs';
import type { Container, ContainerDefinition } from '../aws/ecs.mjs';
import type { Deployment, TaskPlan } from '../deployment.mjs';
import type { TaskPlace } from '../worlds/world.mjs';

type Change = (definition: ContainerDefinition) => ContainerDefinition;

/** Settings that are wrong, and how the task ends with them. */
const wrong: readonly [what: string, container: string, change: Change, ends: RegExp][] = [
  ['a host of the CA bundle that does not exist', 'prepare', set('PREPARE_CA_BUNDLE_URL', value => value.replace('truststore', 'trust')), /prepare FAILED: .*(resolve|resolution|not known)/],
  ['the CA bundle of another region', 'prepare', set('PREPARE_CA_BUNDLE_URL', value => value.replaceAll('eu-central-1', 'eu-west-1')), /prepare FAILED: .*404/],
  ['an issuer that does not exist', 'oauth2-proxy', set('OAUTH2_PROXY_OIDC_ISSUER_URL', () => 'https://login.example.com'), /essential container oauth2-proxy ended.*lookup login\.example\.com/s],
  ['a user who may not write its files', 'prepare', definition => ({ ...definition, User: '10001:10001' }), /prepare had to succeed.*(Operation not permitted|Permission denied)/s],
  ['no volume for what it writes', 'mlflow', withoutMount('/tmp'), /essential container mlflow ended/],
  ['no volume with its programs', 'mlflow', withoutMount('/run/secure-mlflow'), /essential container mlflow ended/],
];

export async function checkWorld(checks: Checks, deployment: Deployment): Promise<void> {
  const { substitutions, task, containers, place, sites } = deployment;
  checks.heading('The task as it is synthesised');
  await checks.check('differs from AWS in the images alone', async () => {
    assert.deepEqual(substitutions.table.map(({ what }) => what), ['image', 'image']);
    for (const { definition, command, env } of containers) {
      const { EntryPoint = [], Command = [], Environment = [] } = definition;
      const declared = [...EntryPoint, ...Command];
      assert.deepEqual(command.slice(command.length - declared.length), declared);
      assert.deepEqual(Environment.filter(({ Name, Value }) => env[Name] !== Value), []);
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
  const mlflow = deployment.container('mlflow');
  const inside = (script: string) => place.succeeds(mlflow, ['python', '-c', script], 20);
  await checks.check('may write to its volumes and nowhere else, and sees no other process', async () => {
    for (const [folder, writable] of [['/tmp', true], ['/', false], ['/usr', false], ['/run/secure-mlflow', false], ['/etc', false]] as const) {
      assert.equal(await inside(`open(${JSON.stringify(`${folder.replace(/\/$/, '')}/of-a-check`)}, "w")`), writable, folder);
    }
    const seen = (programs: string) => inside(`import glob; assert any(name in open(file).read() for file in glob.glob("/proc/[0-9]*/comm") for name in ${programs})`);
    assert.deepEqual([await seen('["gunicorn", "python"]'), await seen('["oauth2", "postgres"]')], [true, false]);
  });

  checks.heading('Its network');
  const [databaseHost, databasePort] = sites.database.aws.split(':');
  const reach = (where: TaskPlace, container: Container, host: string, port: number) =>
    where.succeeds(container, ['python', '-c', `import socket; socket.create_connection((${JSON.stringify(host)}, ${port}), 2)`], 20);
  await checks.check('reaches the database and port 443 of others, as its security group says', async () => {
    const reached = await Promise.all([
      reach(place, mlflow, databaseHost, Number(databasePort)), reach(place, mlflow, new URL(sites.caBundle.aws).hostname, 443), reach(place, mlflow, '169.254.170.2', 80),
    ]);
    assert.deepEqual(reached, [true, true, true]);
  });
  await checks.check('and nothing else: no other port, no other name of S3', async () => {
    const reached = await Promise.all([
      reach(place, mlflow, new URL(sites.publicSite.aws).hostname, 80), reach(place, mlflow, 's3.amazonaws.com', 443), reach(place, mlflow, `${deployment.s3.bucketName}.s3.amazonaws.com`, 443),
    ]);
    assert.deepEqual(reached, [false, false, false]);
  });
  await checks.check('one in another security group does not reach the database', async () => {
    const [other] = deployment.template.single<{ SecurityGroups: string[] }>('AWS::ElasticLoadBalancingV2::LoadBalancer').SecurityGroups;
    const plan = deployment.nextTask({ securityGroups: [other] });
    await plan.place.open();
    const waiting = { ...plan.containers.find(({ definition }) => definition.Name === 'mlflow')!, command: ['sleep', '60'] };
    const running = plan.place.start(waiting, `${plan.logs}/waiting.log`);
    try {
      assert.equal(await reach(plan.place, waiting, databaseHost, Number(databasePort)), false);
    } finally {
      await running.stop(0);
      await plan.place.close();
    }
  });

  checks.heading('A task ends with');
  for (const [what, container, change, ends] of wrong) {
    await checks.check(what, async () => {
      const plan = deployment.nextTask({ change: definition => definition.Name === container ? change(definition) : definition });
      assert.match(await end(deployment, plan), ends);
    });
  }
  await checks.check('a request for its port is not answered where it listens on its loopback', async () => {
    const plan = deployment.nextTask({ change: set('OAUTH2_PROXY_HTTP_ADDRESS', value => value.replace('0.0.0.0', '127.0.0.1')) });
    try {
      await plan.task.start(() => undefined);
      await assert.rejects(fetch(`${plan.url}/ping`, { signal: AbortSignal.timeout(3000) }));
    } finally {
      await deployment.stopTask(plan);
    }
  });
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
