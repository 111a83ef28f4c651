import { App, CfnOutput, Stack } from 'aws-cdk-lib';
import { Secret } from 'aws-cdk-lib/aws-ecs';
import { HostedZone } from 'aws-cdk-lib/aws-route53';
import * as secretsmanager from 'aws-cdk-lib/aws-secretsmanager';
import { AuthProvider, SecureMlflow, TokenIssuer } from 'cdk-secure-mlflow';

// Replace domain, zone, client id, e-mail domains and secret name.
const stack = new Stack(new App(), 'MlflowQuickStart');
const mlflow = new SecureMlflow(stack, 'Mlflow', {
  domainName: 'mlflow.example.com',
  hostedZone: HostedZone.fromHostedZoneAttributes(stack, 'Zone', { zoneName: 'example.com', hostedZoneId: 'Z0123456789EXAMPLE' }),
  authProvider: AuthProvider.google({
    clientId: '1234.apps.googleusercontent.com',
    clientSecret: Secret.fromSecretsManager(secretsmanager.Secret.fromSecretNameV2(stack, 'OAuth', 'mlflow/oauth'), 'clientSecret'),
  }),
  emailDomains: ['example.com'],
  trustedTokenIssuers: [TokenIssuer.gcloud()],
});
new CfnOutput(stack, 'MlflowUri', { value: mlflow.url });
