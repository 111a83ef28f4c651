import { App, CfnOutput, Duration, Stack } from 'aws-cdk-lib';
import { SnsAction } from 'aws-cdk-lib/aws-cloudwatch-actions';
import { Secret } from 'aws-cdk-lib/aws-ecs';
import { RetentionDays } from 'aws-cdk-lib/aws-logs';
import { HostedZone } from 'aws-cdk-lib/aws-route53';
import * as secretsmanager from 'aws-cdk-lib/aws-secretsmanager';
import { Topic } from 'aws-cdk-lib/aws-sns';
import { EmailSubscription } from 'aws-cdk-lib/aws-sns-subscriptions';
import { AuthProvider, SecureMlflow, TokenIssuer } from 'cdk-secure-mlflow';

// Replace domain, zone, client id, secret name and the address for alarms.
const stack = new Stack(new App(), 'MlflowProduction');
const mlflow = new SecureMlflow(stack, 'Mlflow', {
  desiredCount: 2,
  natGateways: 2, // one in each zone, so that one task still reaches the internet if a zone fails
  databaseCapacity: { minAcus: 0.5, maxAcus: 8 },
  cleanUp: { olderThan: Duration.days(90) },
  logRetention: RetentionDays.ONE_YEAR,
  domainName: 'mlflow.example.com',
  hostedZone: HostedZone.fromHostedZoneAttributes(stack, 'Zone', { zoneName: 'example.com', hostedZoneId: 'Z0123456789EXAMPLE' }),
  authProvider: AuthProvider.google({
    clientId: '1234.apps.googleusercontent.com',
    clientSecret: Secret.fromSecretsManager(secretsmanager.Secret.fromSecretNameV2(stack, 'OAuth', 'mlflow/oauth'), 'clientSecret'),
  }),
  emailDomains: ['example.com'],
  trustedTokenIssuers: [TokenIssuer.gcloud()],
});

const alarms = new Topic(stack, 'Alarms');
alarms.addSubscription(new EmailSubscription('mlflow-alarms@example.com'));
mlflow.addMonitoring({ alarmActions: [new SnsAction(alarms)] });

new CfnOutput(stack, 'MlflowUri', { value: mlflow.url });
