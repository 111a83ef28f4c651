/**
 * The smallest deployment, for people with an AWS account. It is deployed, checked from outside in the same way as people and programs use it, and destroyed with all its data.
 * How to run it: docs/check-a-deployment.md. Environment variables set your own values; without them the values of the snapshot are used.
 */

import { IntegTest } from '@aws-cdk/integ-tests-alpha';
import { App, Duration, RemovalPolicy, Stack } from 'aws-cdk-lib';
import { ContainerInsights, Secret as TaskSecret } from 'aws-cdk-lib/aws-ecs';
import { HostedZone } from 'aws-cdk-lib/aws-route53';
import { Bucket } from 'aws-cdk-lib/aws-s3';
import { Secret } from 'aws-cdk-lib/aws-secretsmanager';
import { AuthProvider, SecureMlflow } from '../../src';

const {
  INTEG_DOMAIN_NAME: domainName = 'mlflow.example.com',
  INTEG_ZONE_NAME: zoneName = 'example.com',
  INTEG_ZONE_ID: hostedZoneId = 'Z0123456789EXAMPLE',
  INTEG_ROLE_ARN: roleArn = 'arn:aws:iam::123456789012:role/checks',
  INTEG_AWS_IDENTITY_ISSUER: awsIdentityIssuer = 'https://00000000-0000-0000-0000-000000000000.tokens.sts.global.api.aws',
} = process.env;

// Stack traces and the tree would put paths of one machine into the snapshot.
const app = new App({ treeMetadata: false, context: { 'aws:cdk:disable-creation-stack-traces': true } });
const stack = new Stack(app, 'SecureMlflowSmallest');
// No person signs in, so the client does not have to exist.
const clientSecret = new Secret(stack, 'ClientSecret', { removalPolicy: RemovalPolicy.DESTROY });

new SecureMlflow(stack, 'Mlflow', {
  natGateways: 0,
  databaseCapacity: { maxAcus: 1, pauseAfter: Duration.minutes(5) },
  cpu: 256,
  memoryLimitMiB: 1024,
  workers: 1,
  containerInsights: ContainerInsights.DISABLED,
  domainName,
  hostedZone: HostedZone.fromHostedZoneAttributes(stack, 'Zone', { zoneName, hostedZoneId }),
  authProvider: AuthProvider.google({ clientId: 'nobody.apps.googleusercontent.com', clientSecret: TaskSecret.fromSecretsManager(clientSecret) }),
  emailDomains: [zoneName],
  awsIdentityIssuer,
  machineIdentities: [roleArn],
  // All data are deleted with the stack.
  artifactBucket: new Bucket(stack, 'Artifacts', { enforceSSL: true, autoDeleteObjects: true, removalPolicy: RemovalPolicy.DESTROY }),
  removalPolicy: RemovalPolicy.DESTROY,
  deletionProtection: false,
});

new IntegTest(app, 'Smallest', {
  testCases: [stack],
  hooks: { postDeploy: [`./check.sh https://${domainName}`] },
});
