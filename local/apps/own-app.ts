/** Apps as users have them: stages, their own account and region, a VPC that is looked up. local/checks/own-app.mts runs one, and the others must be refused. */

import { App, Environment, Stack, Stage, aws_ec2 as ec2, aws_ecs as ecs, aws_secretsmanager as secretsmanager } from 'aws-cdk-lib';
import { AuthProvider } from 'cdk-secure-mlflow';
import { Construct } from 'constructs';
import { quickStart } from './quick-start-variant';

const env: Environment = { account: '210987654321', region: 'us-west-2' };
const app = new App();

/** A server in a stage, with another stack for its network, for several groups of a company with two domains. */
function serverIn(stage: Stage, stackName: string): void {
  const network = new Stack(stage, `${stackName}Network`, { env });
  const stack = new Stack(stage, stackName, { env });
  const clientSecret = ecs.Secret.fromSecretsManager(secretsmanager.Secret.fromSecretNameV2(stack, 'Client', 'mlflow/client'));
  quickStart(stack, {
    vpc: ec2.Vpc.fromLookup(network, 'Vpc', { vpcId: 'vpc-0123456789abcdef0' }),
    domainName: `${stackName.toLowerCase()}.example.com`,
    authProvider: AuthProvider.oidc({ issuerUrl: 'https://login.example.org', clientId: 'mlflow', clientSecret, allowedGroups: ['research', 'platform'] }),
    emailDomains: ['example.org', 'example.com'],
    trustedTokenIssuers: [],
  });
}

switch (process.env.OWN_APP) {
  case 'none':
    new Stack(app, 'Empty', { env });
    break;
  case 'two-in-one': {
    const stack = new Stack(app, 'Both', { env });
    for (const id of ['One', 'Other']) {
      quickStart(new Construct(stack, id), { domainName: `${id.toLowerCase()}.example.com` });
    }
    break;
  }
  default:
    serverIn(new Stage(app, 'Test'), 'Research');
    serverIn(new Stage(app, 'Production'), 'Sales');
}
