import { App, CfnOutput, Duration, Stack } from 'aws-cdk-lib';
import { Peer, Vpc } from 'aws-cdk-lib/aws-ec2';
import { Secret } from 'aws-cdk-lib/aws-ecs';
import { Key } from 'aws-cdk-lib/aws-kms';
import { HostedZone } from 'aws-cdk-lib/aws-route53';
import { BlockPublicAccess, Bucket } from 'aws-cdk-lib/aws-s3';
import * as secretsmanager from 'aws-cdk-lib/aws-secretsmanager';
import { ArtifactTransfer, AuthProvider, SecureMlflow, TokenIssuer } from 'cdk-secure-mlflow';

// Replace region, VPC, sources, domain, zone, client id and secret name.
const stack = new Stack(new App(), 'MlflowPrivate', { env: { region: 'eu-central-1' } }); // the region decides which principal writes the access logs
const mlflow = new SecureMlflow(stack, 'Mlflow', {
  vpc: Vpc.fromVpcAttributes(stack, 'Vpc', {
    vpcId: 'vpc-0123456789abcdef0',
    availabilityZones: ['eu-central-1a', 'eu-central-1b'],
    privateSubnetIds: ['subnet-0123456789abcdefc', 'subnet-0123456789abcdefd'],
    privateSubnetRouteTableIds: ['rtb-0123456789abcdefc', 'rtb-0123456789abcdefd'],
  }),
  internetFacing: false,
  allowedSources: [Peer.ipv4('10.0.0.0/8')],
  artifactTransfer: ArtifactTransfer.THROUGH_SERVER, // clients need no access to S3
  encryptionKey: new Key(stack, 'Key', { enableKeyRotation: true }),
  accessLogsBucket: new Bucket(stack, 'AccessLogs', {
    blockPublicAccess: BlockPublicAccess.BLOCK_ALL,
    enforceSSL: true,
    lifecycleRules: [{ expiration: Duration.days(90) }],
  }),
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
