/** The quick start, once with each option that changes what it costs: bench/money.mts compares them with it. The description of a stack names the option. */

import {
  App, Duration, Stack, aws_ec2 as ec2, aws_ecs as ecs, aws_kms as kms, aws_s3 as s3, aws_sns as sns, aws_ssm as ssm,
} from 'aws-cdk-lib';
import { SnsAction } from 'aws-cdk-lib/aws-cloudwatch-actions';
import { AuthProvider, SecureMlflow, SecureMlflowProps, SessionStore } from 'cdk-secure-mlflow';
import { quickStart } from '../local/apps/quick-start-variant';

const app = new App();

function option(description: string, more: (stack: Stack) => Partial<SecureMlflowProps>): SecureMlflow {
  const stack = new Stack(app, `Option${app.node.children.length}`, { description, env: { region: 'us-east-1' } }); // access logs need to know the region
  return quickStart(stack, more(stack));
}

option('`natGateways: 0`: tasks with public addresses', () => ({ natGateways: 0 }));
option('`vpc`: one of yours with a NAT gateway', stack => ({
  vpc: ec2.Vpc.fromVpcAttributes(stack, 'Vpc', {
    vpcId: 'vpc-0123456789abcdef0',
    availabilityZones: ['us-east-1a', 'us-east-1b'],
    publicSubnetIds: ['subnet-a', 'subnet-b'],
    privateSubnetIds: ['subnet-c', 'subnet-d'],
  }),
}));
option('`cpu: 256, memoryLimitMiB: 1024, workers: 1`', () => ({ cpu: 256, memoryLimitMiB: 1024, workers: 1 }));
option('Container Insights off', () => ({})).with(new ecs.mixins.ClusterSettings([{ name: 'containerInsights', value: 'disabled' }]));
option('client secret in Parameter Store', stack => ({
  authProvider: AuthProvider.google({
    clientId: '1234.apps.googleusercontent.com',
    clientSecret: ecs.Secret.fromSsmParameter(ssm.StringParameter.fromSecureStringParameterAttributes(stack, 'ClientSecret', { parameterName: '/mlflow/client-secret' })),
  }),
}));
option('`internetFacing: false`', () => ({ internetFacing: false }));
option('`cpuArchitecture: X86_64`', () => ({ cpuArchitecture: ecs.CpuArchitecture.X86_64 }));
option('`databaseCapacity: { minAcus: 0.5 }`: no pause', () => ({ databaseCapacity: { minAcus: 0.5 } }));
option('`desiredCount: 2`', () => ({ desiredCount: 2 }));
option('`scaling`, while one task is enough', () => ({ scaling: { maxCount: 4 } }));
const monitored = option('`addMonitoring`', () => ({}));
monitored.addMonitoring({ alarmActions: [new SnsAction(new sns.Topic(Stack.of(monitored), 'Alarms'))] });
option('`cleanUp`, weekly', () => ({ cleanUp: { olderThan: Duration.days(30) } }));
option('`sessionStore: SessionStore.valkey()`', () => ({ sessionStore: SessionStore.valkey() }));
option('`encryptionKey`', stack => ({ encryptionKey: new kms.Key(stack, 'Key') }));
option('`accessLogsBucket`', stack => ({ accessLogsBucket: new s3.Bucket(stack, 'AccessLogs') }));
