/**
 * The quick start with a clean-up, monitoring, options for gunicorn and a machine: local/checks/clean-up.mts runs both of its tasks, logs.mts reads
 * their output, and machines.mts signs in as the machine.
 */

import { Duration, Stack, aws_sns as sns } from 'aws-cdk-lib';
import { SnsAction } from 'aws-cdk-lib/aws-cloudwatch-actions';
import { quickStartWith } from './quick-start-variant';

const mlflow = quickStartWith('CleanUp', {
  cleanUp: { olderThan: Duration.days(30) }, gunicornOpts: '--threads 4', machineIdentities: ['ci@project.iam.gserviceaccount.com'],
});
mlflow.addMonitoring({ alarmActions: [new SnsAction(new sns.Topic(Stack.of(mlflow), 'Alarms'))] });
