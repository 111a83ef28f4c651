import { inflateSync } from 'zlib';
import { Duration } from 'aws-cdk-lib';
import { Template } from 'aws-cdk-lib/assertions';
import * as ec2 from 'aws-cdk-lib/aws-ec2';
import * as kms from 'aws-cdk-lib/aws-kms';
import * as s3 from 'aws-cdk-lib/aws-s3';
import * as scheduler from 'aws-cdk-lib/aws-scheduler';
import { broughtVpc, define, minimalProps, newStack, only, OverridesOf, Resource, resources, statementsOf, synthesise } from './fixtures';
import { SecureMlflow } from '../src';

const cleanUp = { olderThan: Duration.days(30) };

function taskOf(template: Template): Resource {
  return only(template, 'AWS::ECS::TaskDefinition', 'CleanUp');
}

/* eslint-disable @typescript-eslint/no-explicit-any -- templates have no types */
function containerOf(template: Template, name: string, part = 'CleanUp'): any {
  return only(template, 'AWS::ECS::TaskDefinition', part).Properties.ContainerDefinitions.find(({ Name }: any) => Name === name);
}

function environmentOf(template: Template, name: string): Record<string, unknown> {
  return Object.fromEntries(containerOf(template, name).Environment.map(({ Name, Value }: any) => [Name, Value]));
}

function targetOf(template: Template): any {
  return only(template, 'AWS::Scheduler::Schedule').Properties.Target;
}

function lifecycleRules(template: Template): unknown[] {
  return only(template, 'AWS::S3::Bucket').Properties.LifecycleConfiguration.Rules;
}

const incompleteUploads = { AbortIncompleteMultipartUpload: { DaysAfterInitiation: 7 }, Status: 'Enabled' };
const attribute = (id: string, name: string) => ({ 'Fn::GetAtt': [id, name] });

test('there are no resources for it by default', () => {
  const { template, mlflow } = synthesise();
  expect(resources(template).filter(([id]) => id.includes('CleanUp'))).toEqual([]);
  expect(mlflow.cleanUpTaskDefinition).toBeUndefined();
  expect(lifecycleRules(template)).toEqual([incompleteUploads]);
});

describe('with an age', () => {
  const { stack, mlflow, template } = synthesise({ cleanUp });

  test('only these are added', () => {
    const kinds = (from: Template) => resources(from).map(([, { Type }]) => Type).sort();
    const added = kinds(template);
    kinds(synthesise().template).forEach(type => added.splice(added.indexOf(type), 1));
    expect(added).toEqual([
      'AWS::ECS::TaskDefinition',
      'AWS::IAM::Policy', 'AWS::IAM::Policy', 'AWS::IAM::Policy', 'AWS::IAM::Role', 'AWS::IAM::Role', 'AWS::IAM::Role',
      'AWS::Scheduler::Schedule', 'AWS::Scheduler::ScheduleGroup',
    ]);
  });

  test('a task runs on Sundays at three', () => {
    expect(only(template, 'AWS::Scheduler::Schedule').Properties).toMatchObject({
      ScheduleExpression: 'cron(0 3 ? * SUN *)', ScheduleExpressionTimezone: 'Etc/UTC', State: 'ENABLED', FlexibleTimeWindow: { Mode: 'OFF' },
    });
    expect(stack.resolve(mlflow.cleanUpTaskDefinition!.taskDefinitionArn)).toEqual(targetOf(template).EcsParameters.TaskDefinitionArn);
  });

  test('it runs in the subnets and security groups of the service', () => {
    const { NetworkConfiguration, PlatformVersion } = only(template, 'AWS::ECS::Service').Properties;
    expect(targetOf(template)).toMatchObject({
      Arn: attribute(only(template, 'AWS::ECS::Cluster').id, 'Arn'),
      EcsParameters: { LaunchType: 'FARGATE', PlatformVersion, NetworkConfiguration },
    });
  });

  test('it has the tags of the app, like the tasks of the service', () => {
    expect(targetOf(template).EcsParameters.PropagateTags).toBe('TASK_DEFINITION');
    expect(only(template, 'AWS::ECS::Service').Properties.PropagateTags).toBe('SERVICE');
  });

  test('it listens on no port, so it needs no inner door', () => {
    const { ContainerDefinitions } = taskOf(template).Properties;
    expect(ContainerDefinitions.map(({ Name, PortMappings }: any) => [Name, PortMappings])).toEqual([['prepare', undefined], ['clean-up', undefined]]);
  });

  test('its containers are restricted like those of the service', () => {
    const shared = ['Image', 'User', 'ReadonlyRootFilesystem', 'LinuxParameters', 'MountPoints', 'StopTimeout'];
    const part = (container: any) => shared.map(name => container[name]);
    expect(part(containerOf(template, 'prepare'))).toEqual(part(containerOf(template, 'prepare', 'Service')));
    expect(part(containerOf(template, 'clean-up'))).toEqual(part(containerOf(template, 'mlflow', 'Service')));
    expect(taskOf(template).Properties).toMatchObject({ Cpu: '512', Memory: '1024', RuntimePlatform: only(template, 'AWS::ECS::TaskDefinition', 'Service').Properties.RuntimePlatform });
  });

  test('prepare runs first, and does not migrate the schema', () => {
    expect(containerOf(template, 'clean-up').DependsOn).toEqual([{ Condition: 'SUCCESS', ContainerName: 'prepare' }]);
    expect(environmentOf(template, 'prepare')).toMatchObject({ PREPARE_SCHEMA: 'leave', PREPARE_MACHINE_IDENTITIES: '' });
    expect(containerOf(template, 'prepare', 'Service').Environment.map(({ Name }: any) => Name)).not.toContain('PREPARE_SCHEMA');
    const programsOf = (task = 'CleanUp') => JSON.parse(inflateSync(Buffer.from(containerOf(template, 'prepare', task).Command[3], 'base64')).toString());
    expect(Object.keys(programsOf())).toEqual(['clean_up.py', 'prepare.py']); // no server, no inner door
    expect(programsOf()['prepare.py']).toBe(programsOf('Service')['prepare.py']);
  });

  test('it gets the age, the database and the bucket, and only the password as a secret', () => {
    expect(environmentOf(template, 'clean-up')).toMatchObject({
      CLEAN_UP_OLDER_THAN: String(30 * 86400),
      MLFLOW_ARTIFACTS_DESTINATION: containerOf(template, 'mlflow', 'Service').Environment.find(({ Name }: any) => Name === 'MLFLOW_ARTIFACTS_DESTINATION').Value,
    });
    expect(containerOf(template, 'clean-up').Secrets).toEqual(containerOf(template, 'prepare', 'Service').Secrets);
    expect(containerOf(template, 'clean-up').Command).toEqual(['python', '/run/secure-mlflow/python/clean_up.py']);
  });

  test('it logs to the log group of the service', () => {
    const { LogConfiguration: { Options } } = containerOf(template, 'clean-up');
    expect(Options['awslogs-group']).toEqual(containerOf(template, 'mlflow', 'Service').LogConfiguration.Options['awslogs-group']);
    expect(Options['awslogs-stream-prefix']).toBe('clean-up');
  });

  test('it may list and delete, but not read objects or delete versions', () => {
    const bucket = attribute(only(template, 'AWS::S3::Bucket').id, 'Arn');
    const ofItsAccount = { StringEquals: { 'aws:ResourceAccount': { Ref: 'AWS::AccountId' } } };
    expect(statementsOf(template, 'CleanUpTaskDefinitionTaskRole')).toEqual([
      { Effect: 'Allow', Action: 's3:ListBucket', Resource: bucket, Condition: { ...ofItsAccount, StringLike: { 's3:prefix': ['mlflow', 'mlflow/*'] } } },
      { Effect: 'Allow', Action: 's3:DeleteObject', Resource: { 'Fn::Join': ['', [bucket, '/mlflow/*']] }, Condition: ofItsAccount },
    ]);
  });

  test('the schedule may start only this task, with its two roles', () => {
    const { TaskRoleArn, ExecutionRoleArn } = taskOf(template).Properties;
    const tasksOfTheCluster = ['arn:', { Ref: 'AWS::Partition' }, ':ecs:', { Ref: 'AWS::Region' }, ':', { Ref: 'AWS::AccountId' }, ':task/', { Ref: only(template, 'AWS::ECS::Cluster').id }, '/*'];
    expect(statementsOf(template, 'CleanUpScheduleRole')).toEqual([
      { Effect: 'Allow', Action: 'iam:PassRole', Resource: [TaskRoleArn, ExecutionRoleArn], Condition: { StringLike: { 'iam:PassedToService': 'ecs-tasks.amazonaws.com' } } },
      { Effect: 'Allow', Action: 'ecs:RunTask', Resource: targetOf(template).EcsParameters.TaskDefinitionArn },
      { Effect: 'Allow', Action: 'ecs:TagResource', Resource: { 'Fn::Join': ['', tasksOfTheCluster] } },
    ]);
    const { AssumeRolePolicyDocument: { Statement: [trust] } } = only(template, 'AWS::IAM::Role', 'ScheduleRole').Properties;
    expect(trust).toMatchObject({ Effect: 'Allow', Action: 'sts:AssumeRole', Principal: { Service: 'scheduler.amazonaws.com' } });
    expect(trust.Condition).toEqual({
      StringEquals: { 'aws:SourceAccount': { Ref: 'AWS::AccountId' }, 'aws:SourceArn': attribute(only(template, 'AWS::Scheduler::ScheduleGroup').id, 'Arn') },
    });
  });

  test('the schedule depends on the service, so that a newer MLflow migrates first', () => {
    expect(only(template, 'AWS::Scheduler::Schedule').DependsOn).toEqual(expect.arrayContaining([
      only(template, 'AWS::ECS::Service').id, only(template, 'AWS::IAM::Policy', 'CleanUpTaskDefinitionExecutionRole').id,
    ]));
  });

  test('old versions of files expire after 30 days, only in the folder', () => {
    expect(lifecycleRules(template)).toEqual([
      incompleteUploads,
      { Prefix: 'mlflow/', NoncurrentVersionExpiration: { NoncurrentDays: 30 }, ExpiredObjectDeleteMarker: true, Status: 'Enabled' },
    ]);
  });
});

test('age, schedule and time to keep versions can be chosen', () => {
  const { template } = synthesise({
    artifactPath: 'teams/ml',
    cleanUp: { olderThan: Duration.days(7), schedule: scheduler.ScheduleExpression.rate(Duration.days(1)), keepVersionsFor: Duration.days(90) },
  });
  expect(environmentOf(template, 'clean-up').CLEAN_UP_OLDER_THAN).toBe(String(7 * 86400));
  expect(only(template, 'AWS::Scheduler::Schedule').Properties.ScheduleExpression).toBe('rate(1 day)');
  expect(lifecycleRules(template)[1]).toMatchObject({ Prefix: 'teams/ml/', NoncurrentVersionExpiration: { NoncurrentDays: 90 } });
});

test('it gets the variables in environment', () => {
  const { template } = synthesise({ cleanUp, environment: { MLFLOW_LOGGING_LEVEL: 'DEBUG' } });
  expect(environmentOf(template, 'clean-up')).toMatchObject({ MLFLOW_LOGGING_LEVEL: 'DEBUG', CLEAN_UP_OLDER_THAN: String(30 * 86400) });
});


test.each<[string, OverridesOf, string]>([
  ['without NAT gateway', { natGateways: 0 }, 'ENABLED'],
  ['in private subnets of an existing VPC', stack => ({ vpc: broughtVpc(stack) }), 'DISABLED'],
  ['in public subnets that are chosen by their kind', stack => ({ vpc: broughtVpc(stack), serviceSubnets: { subnetType: ec2.SubnetType.PUBLIC } }), 'ENABLED'],
  ['in public subnets that are chosen one by one', stack => {
    const vpc = broughtVpc(stack);
    return { vpc, serviceSubnets: { subnets: vpc.publicSubnets } };
  }, 'ENABLED'],
])('it has a public address where the service has one: %s', (_, overrides, assigned) => {
  const stack = newStack();
  const changes = typeof overrides === 'function' ? overrides(stack) : overrides;
  const { template } = synthesise({ ...changes, cleanUp }, stack);
  const ofTask = targetOf(template).EcsParameters.NetworkConfiguration;
  expect(ofTask.AwsvpcConfiguration.AssignPublicIp).toBe(assigned);
  expect(ofTask).toEqual(only(template, 'AWS::ECS::Service').Properties.NetworkConfiguration);
});

test('it can read its password where the secrets have a key', () => {
  const { template } = synthesise(stack => ({ cleanUp, encryptionKey: kms.Key.fromKeyArn(stack, 'Key', 'arn:aws:kms:eu-west-1:111122223333:key/1') }));
  const keyed = (role: string) => statementsOf(template, role).filter(({ Action }) => Action === 'kms:Decrypt');
  expect(keyed('CleanUpTaskDefinitionExecutionRole')).toEqual(keyed('ServiceTaskDefinitionExecutionRole'));
  expect(keyed('CleanUpTaskDefinitionExecutionRole')).toHaveLength(1);
});

test('an existing bucket is cleaned up and not changed', () => {
  const { template } = synthesise(stack => ({ cleanUp, artifactBucket: s3.Bucket.fromBucketName(stack, 'Brought', 'brought') }));
  expect(resources(template, 'AWS::S3::Bucket')).toEqual([]);
  expect(JSON.stringify(statementsOf(template, 'CleanUpTaskDefinitionTaskRole'))).toContain(':s3:::brought/mlflow/*');
});

test('files of the new bucket can be tiered', () => {
  expect(lifecycleRules(synthesise({ artifactTiering: true }).template)).toEqual([
    incompleteUploads,
    { Prefix: 'mlflow/', Transitions: [{ StorageClass: 'INTELLIGENT_TIERING', TransitionInDays: 0 }], Status: 'Enabled' },
  ]);
  expect(lifecycleRules(synthesise({ artifactTiering: false }).template)).toEqual([incompleteUploads]);
});

test('two of them can be in one stack', () => {
  const { stack } = define({ cleanUp });
  new SecureMlflow(stack, 'Second', { ...minimalProps(stack), domainName: 'second.example.com', cleanUp });
  const template = Template.fromStack(stack);
  expect(resources(template, 'AWS::Scheduler::Schedule')).toHaveLength(2);
  expect(resources(template)).toHaveLength(2 * resources(synthesise({ cleanUp }).template).length);
});

test('its schedule group is always deleted: its name is fixed and would block the next deployment', () => {
  expect(only(synthesise({ cleanUp }).template, 'AWS::Scheduler::ScheduleGroup')).toMatchObject({ DeletionPolicy: 'Delete', UpdateReplacePolicy: 'Delete' });
});
