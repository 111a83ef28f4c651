import { App, CfnOutput, Stack } from 'aws-cdk-lib';
import { Certificate } from 'aws-cdk-lib/aws-certificatemanager';
import { Vpc } from 'aws-cdk-lib/aws-ec2';
import { Secret } from 'aws-cdk-lib/aws-ecs';
import { HostedZone } from 'aws-cdk-lib/aws-route53';
import { Bucket } from 'aws-cdk-lib/aws-s3';
import * as secretsmanager from 'aws-cdk-lib/aws-secretsmanager';
import { AuthProvider, SecureMlflow, TokenIssuer } from 'cdk-secure-mlflow';

// Replace all ids and names.
const stack = new Stack(new App(), 'MlflowBringYourOwn');
const mlflow = new SecureMlflow(stack, 'Mlflow', {
  vpc: Vpc.fromVpcAttributes(stack, 'Vpc', {
    vpcId: 'vpc-0123456789abcdef0',
    availabilityZones: ['eu-central-1a', 'eu-central-1b'],
    publicSubnetIds: ['subnet-0123456789abcdefa', 'subnet-0123456789abcdefb'],
    publicSubnetRouteTableIds: ['rtb-0123456789abcdefa', 'rtb-0123456789abcdefb'],
    privateSubnetIds: ['subnet-0123456789abcdefc', 'subnet-0123456789abcdefd'],
    privateSubnetRouteTableIds: ['rtb-0123456789abcdefc', 'rtb-0123456789abcdefd'],
  }),
  domainName: 'mlflow.example.com',
  hostedZone: HostedZone.fromHostedZoneAttributes(stack, 'Zone', { zoneName: 'example.com', hostedZoneId: 'Z0123456789EXAMPLE' }),
  certificate: Certificate.fromCertificateArn(stack, 'Certificate', 'arn:aws:acm:eu-central-1:111122223333:certificate/11111111-2222-3333-4444-555555555555'),
  artifactBucket: Bucket.fromBucketName(stack, 'Bucket', 'example-ml'),
  artifactPath: 'teams/research',
  authProvider: AuthProvider.google({
    clientId: '1234.apps.googleusercontent.com',
    clientSecret: Secret.fromSecretsManager(secretsmanager.Secret.fromSecretNameV2(stack, 'OAuth', 'mlflow/oauth'), 'clientSecret'),
  }),
  emailDomains: ['example.com'],
  trustedTokenIssuers: [TokenIssuer.gcloud()],
});
new CfnOutput(stack, 'MlflowUri', { value: mlflow.url });
