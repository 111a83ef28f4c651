/**
 * The quick start, once with each option that changes its cost. bench/money.mts compares the costs. Variants have several options, and are listed
 * with the examples. The description of a stack names the option or the variant.
 */

import {
  App, Duration, Stack, aws_ec2 as ec2, aws_ecs as ecs, aws_elasticloadbalancingv2 as elbv2, aws_kms as kms, aws_s3 as s3, aws_sns as sns, aws_ssm as ssm,
} from 'aws-cdk-lib';
import { SnsAction } from 'aws-cdk-lib/aws-cloudwatch-actions';
import { AuthProvider, FargateCapacity, SecureMlflow, SecureMlflowProps, SessionStore } from 'cdk-secure-mlflow';
import { quickStart } from '../local/apps/quick-start-variant';

const app = new App();

type More = (stack: Stack) => Partial<SecureMlflowProps>;

function define(kind: string, description: string, more: More): SecureMlflow {
  const stack = new Stack(app, `${kind}${app.node.children.length}`, { description, env: { region: 'us-east-1' } }); // access logs need the region
  return quickStart(stack, more(stack));
}

function option(description: string, more: More): SecureMlflow {
  return define('Option', description, more);
}

function vpcOfYours(stack: Stack): ec2.IVpc {
  return ec2.Vpc.fromVpcAttributes(stack, 'Vpc', {
    vpcId: 'vpc-0123456789abcdef0',
    availabilityZones: ['us-east-1a', 'us-east-1b'],
    publicSubnetIds: ['subnet-a', 'subnet-b'],
    privateSubnetIds: ['subnet-c', 'subnet-d'],
  });
}

function listenerOfYours(stack: Stack): Partial<SecureMlflowProps> {
  const arn = 'arn:aws:elasticloadbalancing:us-east-1:111122223333';
  const loadBalancer = `app/${stack.node.id}/50dc6c495c0c9188`; // a separate one in each stack, because all have the same domain name
  return {
    vpc: vpcOfYours(stack),
    listener: elbv2.ApplicationListener.fromApplicationListenerAttributes(stack, 'Listener', {
      listenerArn: `${arn}:listener/${loadBalancer}/f2f7dc8efc522ab2`,
      securityGroup: ec2.SecurityGroup.fromSecurityGroupId(stack, 'SecurityGroup', 'sg-shared'),
    }),
    loadBalancer: elbv2.ApplicationLoadBalancer.fromApplicationLoadBalancerAttributes(stack, 'LoadBalancer', {
      loadBalancerArn: `${arn}:loadbalancer/${loadBalancer}`,
      loadBalancerDnsName: 'shared.us-east-1.elb.amazonaws.com',
      loadBalancerCanonicalHostedZoneId: 'ZONEOFELB',
      securityGroupId: 'sg-shared',
    }),
    listenerPriority: 10,
  };
}

const quiet = { containerInsights: ecs.ContainerInsights.DISABLED };
const spot = { capacity: FargateCapacity.SPOT };

define('Variant', 'quick-start behind a load balancer and a NAT gateway of yours', listenerOfYours);
define('Variant', '… without Container Insights', stack => ({ ...listenerOfYours(stack), ...quiet }));
define('Variant', '… and on Spot', stack => ({ ...listenerOfYours(stack), ...quiet, ...spot }));

option('`natGateways: 0`: tasks with public addresses', () => ({ natGateways: 0 }));
option('`vpc`: one of yours with a NAT gateway', stack => ({ vpc: vpcOfYours(stack) }));
option('`listener`: that of a load balancer of yours, and such a `vpc`', listenerOfYours);
option('`cpu: 256, memoryLimitMiB: 1024, workers: 1`', () => ({ cpu: 256, memoryLimitMiB: 1024, workers: 1 }));
option('`containerInsights: ContainerInsights.DISABLED`', () => quiet);
option('`capacity: FargateCapacity.SPOT`', () => spot);
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
