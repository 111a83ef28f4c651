/** Apps as people have them: stages, an account and a region of their own, a VPC that is looked up. local/checks/own-app.mts runs one and is refused the others. */

import { App, Environment, Stack, Stage, aws_ec2 as ec2 } from 'aws-cdk-lib';
import { quickStart } from './quick-start-variant';

const env: Environment = { account: '210987654321', region: 'us-west-2' };
const app = new App();

function serverIn(stage: Stage, stackName: string): Stack {
  const network = new Stack(stage, `${stackName}Network`, { env });
  const stack = new Stack(stage, stackName, { env });
  quickStart(stack, { vpc: ec2.Vpc.fromLookup(network, 'Vpc', { vpcId: 'vpc-0123456789abcdef0' }), domainName: `${stackName.toLowerCase()}.example.com` });
  return stack;
}

switch (process.env.OWN_APP) {
  case 'none':
    new Stack(app, 'Empty', { env });
    break;
  default:
    serverIn(new Stage(app, 'Test'), 'Research');
    serverIn(new Stage(app, 'Production'), 'Sales');
}
