import { App, Stack, aws_ecs as ecs, aws_route53 as route53, aws_secretsmanager as secretsmanager } from 'aws-cdk-lib';
import { AuthProvider, SecureMlflow, SecureMlflowProps, TokenIssuer } from 'cdk-secure-mlflow';
import { Construct } from 'constructs';

/** An app with the props of the quick start and additional ones. */
export function quickStartWith(stackName: string, more: Partial<SecureMlflowProps>): SecureMlflow {
  return quickStart(new Stack(new App(), stackName), more);
}

export function quickStart(scope: Construct, more: Partial<SecureMlflowProps>): SecureMlflow {
  const oauth = secretsmanager.Secret.fromSecretNameV2(scope, 'OAuth', 'mlflow/oauth');
  return new SecureMlflow(scope, 'Mlflow', {
    domainName: 'mlflow.example.com',
    hostedZone: route53.HostedZone.fromHostedZoneAttributes(scope, 'Zone', { zoneName: 'example.com', hostedZoneId: 'Z0123456789EXAMPLE' }),
    authProvider: AuthProvider.google({ clientId: '1234.apps.googleusercontent.com', clientSecret: ecs.Secret.fromSecretsManager(oauth, 'clientSecret') }),
    emailDomains: ['example.com'],
    trustedTokenIssuers: [TokenIssuer.gcloud()],
    ...more,
  });
}
