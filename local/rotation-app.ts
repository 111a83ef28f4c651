/** The quick start with IAM authentication for the database: local/checks/rotation.mts lets the password change all the time. */

import { App, Stack, aws_ecs as ecs, aws_route53 as route53, aws_secretsmanager as secretsmanager } from 'aws-cdk-lib';
import { AuthProvider, DatabaseAuthentication, SecureMlflow, TokenIssuer } from 'cdk-secure-mlflow';

const app = new App();
const stack = new Stack(app, 'Rotation');
const oauth = secretsmanager.Secret.fromSecretNameV2(stack, 'OAuth', 'mlflow/oauth');
new SecureMlflow(stack, 'Mlflow', {
  domainName: 'mlflow.example.com',
  hostedZone: route53.HostedZone.fromHostedZoneAttributes(stack, 'Zone', { zoneName: 'example.com', hostedZoneId: 'Z0123456789EXAMPLE' }),
  authProvider: AuthProvider.google({ clientId: '1234.apps.googleusercontent.com', clientSecret: ecs.Secret.fromSecretsManager(oauth, 'clientSecret') }),
  emailDomains: ['example.com'],
  trustedTokenIssuers: [TokenIssuer.gcloud()],
  databaseAuthentication: DatabaseAuthentication.IAM,
  environment: { MLFLOW_SQLALCHEMYSTORE_POOL_RECYCLE: '1' }, // a connection is used for a second, so that every token is needed
});
app.synth();
