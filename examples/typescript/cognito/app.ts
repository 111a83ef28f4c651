import { App, CfnOutput, Stack } from 'aws-cdk-lib';
import * as iam from 'aws-cdk-lib/aws-iam';
import { HostedZone } from 'aws-cdk-lib/aws-route53';
import { AccessLevel, AuthProvider, SecureMlflow } from 'cdk-secure-mlflow';

// Replace domain, zone and issuer.
const stack = new Stack(new App(), 'MlflowCognito');
const authProvider = AuthProvider.cognito({ machineClients: ['ci'] });
const mlflow = new SecureMlflow(stack, 'Mlflow', {
  domainName: 'mlflow.example.com',
  hostedZone: HostedZone.fromHostedZoneAttributes(stack, 'Zone', { zoneName: 'example.com', hostedZoneId: 'Z0123456789EXAMPLE' }),
  authProvider,
  emailDomains: ['example.com'],
  awsIdentityIssuer: 'https://00000000-0000-0000-0000-000000000000.tokens.sts.global.api.aws',
  access: {
    admins: { groups: ['ml-admins'] },
    editors: { groups: ['data-science'] },
    everybody: AccessLevel.READER,
  },
});

// People in neither group are readers. Machines are editors unless they are given another level.
authProvider.userPool.addGroup('Admins', { groupName: 'ml-admins' });
authProvider.userPool.addGroup('Editors', { groupName: 'data-science' });

// Programs with the role of a training job may use the server. The secret contains the credentials for a machine outside AWS.
const trainingRole = new iam.Role(stack, 'TrainingRole', { assumedBy: new iam.ServicePrincipal('ecs-tasks.amazonaws.com') });
mlflow.grantTrackingAccess(trainingRole); // with { level: AccessLevel.READER } it could only read

new CfnOutput(stack, 'MlflowUri', { value: mlflow.url });
new CfnOutput(stack, 'MlflowSignOut', { value: mlflow.signOutUrl });
new CfnOutput(stack, 'UserPoolId', { value: authProvider.userPool.userPoolId });
new CfnOutput(stack, 'CiCredentials', { value: authProvider.machineClientSecret('ci').secretName });
