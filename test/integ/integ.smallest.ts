/**
 * The smallest deployment, for whoever has an AWS account: deployed, checked from outside as its users are, and destroyed with all its data.
 * How to run it: docs/check-a-deployment.md. What is set here by variables is theirs; without them it is what the snapshot holds.
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
// Nobody signs in as a person, so the client need not exist.
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
  // Nothing is left when it is destroyed.
  artifactBucket: new Bucket(stack, 'Artifacts', { enforceSSL: true, autoDeleteObjects: true, removalPolicy: RemovalPolicy.DESTROY }),
  removalPolicy: RemovalPolicy.DESTROY,
  deletionProtection: false,
});

new IntegTest(app, 'Smallest', {
  testCases: [stack],
  hooks: { postDeploy: [`./check.sh https://${domainName}`] },
});
