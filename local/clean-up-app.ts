/** The quick start with a clean-up, monitoring and gunicorn: local/checks/clean-up.mts runs both of its tasks, logs.mts reads what they print. */

import { App, Duration, Stack, aws_ecs as ecs, aws_route53 as route53, aws_secretsmanager as secretsmanager, aws_sns as sns } from 'aws-cdk-lib';
import { SnsAction } from 'aws-cdk-lib/aws-cloudwatch-actions';
import { AuthProvider, SecureMlflow, TokenIssuer } from 'cdk-secure-mlflow';

const app = new App();
const stack = new Stack(app, 'CleanUp');
const oauth = secretsmanager.Secret.fromSecretNameV2(stack, 'OAuth', 'mlflow/oauth');
const mlflow = new SecureMlflow(stack, 'Mlflow', {
  domainName: 'mlflow.example.com',
  hostedZone: route53.HostedZone.fromHostedZoneAttributes(stack, 'Zone', { zoneName: 'example.com', hostedZoneId: 'Z0123456789EXAMPLE' }),
  authProvider: AuthProvider.google({ clientId: '1234.apps.googleusercontent.com', clientSecret: ecs.Secret.fromSecretsManager(oauth, 'clientSecret') }),
  emailDomains: ['example.com'],
  trustedTokenIssuers: [TokenIssuer.gcloud()],
  cleanUp: { olderThan: Duration.days(30) },
  gunicornOpts: '--threads 4',
});
mlflow.addMonitoring({ alarmActions: [new SnsAction(new sns.Topic(stack, 'Alarms'))] });
app.synth();
