/** The examples beside those that have checks of their own: each is used, and does what it is about. */

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

/** What each is about. */
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
  await checks.check('lets a person sign in', async () => {
    const person = await Person.meet('someone@example.com');
    try {
      await signsIn(person, deployment.url);
    } finally {
      await person.leave();
    }
  });
  await checks.check('lets a program log with a token and read it back', () => runLongJob(deployment, python, 1, clientSettings(deployment, token)));
  await checks.check('has put everything below its folder of the bucket', () => keepsToItsFolder(deployment));
  await particulars[example](checks, options);
}

async function checkBrought(checks: Checks, { deployment }: JobOptions): Promise<void> {
  const { s3, template } = deployment;
  await checks.check('makes no bucket, VPC or certificate', async () => {
    assert.equal(`${s3.bucketName}/${s3.folder}`, 'example-ml/teams/research');
    assert.deepEqual(['AWS::S3::Bucket', 'AWS::EC2::VPC', 'AWS::EC2::Subnet', 'AWS::CertificateManager::Certificate'].flatMap(type => template.ids(type)), []);
  });
  await checks.check('has a role that reaches neither the rest of the bucket nor another one', () => roleStaysInFolder(deployment));
}

async function checkPrivate(checks: Checks, options: JobOptions): Promise<void> {
  const { deployment } = options;
  const { template, roles, taskRole, url } = deployment;
  await checks.check('answers over HTTPS alone', async () => {
    await redirectsToHttps(deployment);
    const { hostname, port } = new URL(url);
    await assert.rejects(fetch(`http://${hostname}:${port || 443}`));
  });
  if (deployment.verbatim) {
    await checks.check('is reached from the company\'s network, and not from another', async () => {
      const reaches = async (where: Whereabouts) => {
        const [program, ...args] = deployment.outside(['curl', '--silent', '--insecure', '--max-time', '2', `${url}/ping`], where);
        return !(await execa(program, args, { reject: false })).failed;
      };
      assert.deepEqual([await reaches('company network'), await reaches('internet')], [true, false]);
    });
  }
  await checks.check('is open to the company\'s network alone, in the template', async () => {
    const { Scheme, SecurityGroups: [group] } = template.single<{ Scheme: string; SecurityGroups: string[] }>('AWS::ElasticLoadBalancingV2::LoadBalancer');
    const { SecurityGroupIngress: rules } = template.properties<{ SecurityGroupIngress: { CidrIp: string; FromPort: number }[] }>(group);
    assert.equal(Scheme, 'internal');
    assert.deepEqual(rules.map(({ CidrIp, FromPort }) => [CidrIp, FromPort]), [['10.0.0.0/8', 443]]);
  });
  await checks.check('lets who needs the key use it, in the template: KMS is not played here', async () => {
    const key = template.attribute(template.ids('AWS::KMS::Key')[0], 'Arn');
    const allowed = (role: string) => roles.policies(role).flatMap(({ PolicyDocument }) => PolicyDocument.Statement)
      .filter(({ Resource }) => [Resource].flat().includes(key)).flatMap(({ Action }) => Action);
    const { ExecutionRoleArn } = template.single<{ ExecutionRoleArn: string }>('AWS::ECS::TaskDefinition');
    assert.deepEqual(allowed(taskRole), ['kms:Decrypt', 'kms:GenerateDataKey'], 'the tasks, for the bucket');
    assert.deepEqual(allowed(ExecutionRoleArn.split('/').at(-1)!), ['kms:Decrypt'], 'who starts them, for the secrets');
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
  const memory = () => ['mlflow', 'oauth2-proxy'].reduce((sum, container) => sum + memoryMiB(task.pid(container)), 0); // as the limit of a container counts it
  const most = await mostMeanwhile(memory, () => checkJob(checks, options));
  checks.heading('Meanwhile the task');
  await checks.check(`needed at most three quarters of its ${given} MiB`, async () => {
    assert(most > 0 && most < 0.75 * given, `${most} MiB`);
    return `${most} MiB, what its processes share counted once`;
  });
}

async function checkProduction(checks: Checks, { deployment }: JobOptions): Promise<void> {
  const { DesiredCount } = deployment.template.single<{ DesiredCount: number }>('AWS::ECS::Service');
  const tasks: Pick<TaskPlan, 'url'>[] = [{ url: deployment.proxyUrl }];
  await checks.check(`comes up with all its tasks behind the load balancer, ${DesiredCount}`, async () => {
    assert(DesiredCount > 1);
    while (tasks.length < DesiredCount) {
      tasks.push(await deployment.addTask());
    }
  });
  await checks.check('takes a session on each', () => takeOneSession(deployment, tasks));
  await checks.check('cleans up beside them', async () => {
    assert.match(await deployment.runScheduledTask(), /exit code 0\n[^]*^clean-up removed 0 runs/m);
  });
}
