/** The examples that have no separate checks: each is used, and the purpose of each is checked. */

import assert from 'node:assert/strict';
import { execa } from 'execa';
import type { Checks } from './checks.mjs';
import { checkNeighbours } from './neighbours.mjs';
import { redirectsToHttps, signsIn } from './people.mjs';
import { memoryMiB, mostMeanwhile } from './proc.mjs';
import { checkJob, clientSettings, runLongJob, type JobOptions } from './programs.mjs';
import { takeOneSession } from './scaling.mjs';
import { keepsToItsFolder } from './task.mjs';
import { worksWithoutS3 } from './transfer.mjs';
import { roleStaysInFolder } from './traversal.mjs';
import { Person } from '../clients/person.mjs';
import type { TaskPlan } from '../deployment.mjs';
import type { Whereabouts } from '../worlds/world.mjs';

/** The check of each example's purpose. */
const particulars: Record<string, (checks: Checks, options: JobOptions) => Promise<void>> = {
  'bring-your-own': checkBrought,
  'private': checkPrivate,
  'cheapest': checkCheapest,
  'production': checkProduction,
  'shared-load-balancer': checkNeighbours,
};

export const examples = Object.keys(particulars);

export async function checkUse(checks: Checks, example: string, options: JobOptions): Promise<void> {
  const { deployment, token, python } = options;
  checks.heading(`The example ${example}`);
  await checks.check('a person can sign in', async () => {
    const person = await Person.meet('someone@example.com');
    try {
      await signsIn(person, deployment.url);
    } finally {
      await person.leave();
    }
  });
  await checks.check('a program can log with a bearer token and read its data back', () => runLongJob(deployment, python, 1, clientSettings(deployment, token)));
  await checks.check('all objects are below its folder of the bucket', () => keepsToItsFolder(deployment));
  await particulars[example](checks, options);
}

async function checkBrought(checks: Checks, { deployment }: JobOptions): Promise<void> {
  const { s3, template } = deployment;
  await checks.check('creates no bucket, VPC or certificate', async () => {
    assert.equal(`${s3.bucketName}/${s3.folder}`, 'example-ml/teams/research');
    assert.deepEqual(['AWS::S3::Bucket', 'AWS::EC2::VPC', 'AWS::EC2::Subnet', 'AWS::CertificateManager::Certificate'].flatMap(type => template.ids(type)), []);
  });
  await checks.check('has a role with no access to other folders or other buckets', () => roleStaysInFolder(deployment));
}

async function checkPrivate(checks: Checks, options: JobOptions): Promise<void> {
  const { deployment } = options;
  const { template, roles, taskRole, url } = deployment;
  await checks.check('answers only over HTTPS', async () => {
    await redirectsToHttps(deployment);
    const { hostname, port } = new URL(url);
    await assert.rejects(fetch(`http://${hostname}:${port || 443}`));
  });
  if (deployment.verbatim) {
    await checks.check('is reached from the company\'s network, but not from the internet', async () => {
      const reaches = async (where: Whereabouts) => {
        const [program, ...args] = deployment.outside(['curl', '--silent', '--insecure', '--max-time', '2', `${url}/ping`], where);
        return !(await execa(program, args, { reject: false })).failed;
      };
      assert.deepEqual([await reaches('company network'), await reaches('internet')], [true, false]);
    });
  }
  await checks.check('is open only to the company\'s network, in the template', async () => {
    const { Scheme, SecurityGroups: [group] } = template.single<{ Scheme: string; SecurityGroups: string[] }>('AWS::ElasticLoadBalancingV2::LoadBalancer');
    const { SecurityGroupIngress: rules } = template.properties<{ SecurityGroupIngress: { CidrIp: string; FromPort: number }[] }>(group);
    assert.equal(Scheme, 'internal');
    assert.deepEqual(rules.map(({ CidrIp, FromPort }) => [CidrIp, FromPort]), [['10.0.0.0/8', 443]]);
  });
  await checks.check('allows only the roles that need the key to use it, in the template (KMS has no stand-in)', async () => {
    const key = template.attribute(template.ids('AWS::KMS::Key')[0], 'Arn');
    const allowed = (role: string) => roles.policies(role).flatMap(({ PolicyDocument }) => PolicyDocument.Statement)
      .filter(({ Resource }) => [Resource].flat().includes(key)).flatMap(({ Action }) => Action);
    const { ExecutionRoleArn } = template.single<{ ExecutionRoleArn: string }>('AWS::ECS::TaskDefinition');
    assert.deepEqual(allowed(taskRole), ['kms:Decrypt', 'kms:GenerateDataKey'], 'the tasks, for the bucket');
    assert.deepEqual(allowed(ExecutionRoleArn.split('/').at(-1)!), ['kms:Decrypt'], 'the role that starts tasks, for the secrets');
    for (const type of ['AWS::SecretsManager::Secret', 'AWS::Logs::LogGroup', 'AWS::RDS::DBCluster']) {
      const keys = template.all<{ KmsKeyId?: string }>(type).map(({ KmsKeyId }) => KmsKeyId);
      assert(keys.length > 0 && keys.every(used => used === key), `${type}: ${keys}`);
    }
  });
  await worksWithoutS3(checks, options);
}

async function checkCheapest(checks: Checks, options: JobOptions): Promise<void> {
  const { task, template } = options.deployment;
  const { TaskDefinition } = template.single<{ TaskDefinition: string }>('AWS::ECS::Service');
  const given = Number(template.properties<{ Memory: string }>(TaskDefinition).Memory);
  const memory = () => ['mlflow', 'oauth2-proxy'].reduce((sum, container) => sum + memoryMiB(task.pid(container)), 0); // counted as for the limit of a container
  const most = await mostMeanwhile(memory, () => checkJob(checks, options));
  checks.heading('During that job the task');
  await checks.check(`used at most three quarters of its ${given} MiB`, async () => {
    assert(most > 0 && most < 0.75 * given, `${most} MiB`);
    return `${most} MiB, shared memory counted once`;
  });
}

async function checkProduction(checks: Checks, { deployment }: JobOptions): Promise<void> {
  const { DesiredCount } = deployment.template.single<{ DesiredCount: number }>('AWS::ECS::Service');
  const tasks: Pick<TaskPlan, 'url'>[] = [{ url: deployment.proxyUrl }];
  await checks.check(`starts with all ${DesiredCount} tasks behind the load balancer`, async () => {
    assert(DesiredCount > 1);
    while (tasks.length < DesiredCount) {
      tasks.push(await deployment.addTask());
    }
  });
  await checks.check('accepts a session on each task', () => takeOneSession(deployment, tasks));
  await checks.check('runs the clean-up at the same time', async () => {
    assert.match(await deployment.runScheduledTask(), /exit code 0\n[^]*^clean-up removed 0 runs/m);
  });
}
