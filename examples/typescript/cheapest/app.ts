import { App, CfnOutput, Duration, Stack } from 'aws-cdk-lib';
import { ContainerInsights, Secret } from 'aws-cdk-lib/aws-ecs';
import { HostedZone } from 'aws-cdk-lib/aws-route53';
import { StringParameter } from 'aws-cdk-lib/aws-ssm';
import { AuthProvider, SecureMlflow, TokenIssuer } from 'cdk-secure-mlflow';

// Replace domain, zone, client id and parameter name.
const stack = new Stack(new App(), 'MlflowCheapest');
const mlflow = new SecureMlflow(stack, 'Mlflow', {
  natGateways: 0,
  databaseCapacity: { maxAcus: 1, pauseAfter: Duration.minutes(5) },
  cpu: 256,
  memoryLimitMiB: 1024,
  workers: 1,
  containerInsights: ContainerInsights.DISABLED, // its metrics cost more than this task
  domainName: 'mlflow.example.com',
  hostedZone: HostedZone.fromHostedZoneAttributes(stack, 'Zone', { zoneName: 'example.com', hostedZoneId: 'Z0123456789EXAMPLE' }),
  authProvider: AuthProvider.google({
    clientId: '1234.apps.googleusercontent.com',
    clientSecret: Secret.fromSsmParameter(StringParameter.fromSecureStringParameterAttributes(stack, 'OAuth', { parameterName: '/mlflow/oauth-client-secret' })),
  }),
  emailDomains: ['example.com'],
  trustedTokenIssuers: [TokenIssuer.gcloud()],
});
new CfnOutput(stack, 'MlflowUri', { value: mlflow.url });
