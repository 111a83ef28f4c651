import { App, CfnOutput, Duration, Stack } from 'aws-cdk-lib';
import { Certificate } from 'aws-cdk-lib/aws-certificatemanager';
import { SubnetType, Vpc } from 'aws-cdk-lib/aws-ec2';
import { Cluster, ContainerImage, ContainerInsights, FargateService, FargateTaskDefinition, Secret } from 'aws-cdk-lib/aws-ecs';
import { ApplicationLoadBalancer, ListenerAction, ListenerCondition, SslPolicy } from 'aws-cdk-lib/aws-elasticloadbalancingv2';
import { HostedZone } from 'aws-cdk-lib/aws-route53';
import { StringParameter } from 'aws-cdk-lib/aws-ssm';
import { AuthProvider, SecureMlflow, TokenIssuer } from 'cdk-secure-mlflow';

// Replace domains, zone, certificate, client id and parameter name.
const app = new App();

// The existing part: a network, a load balancer and a cluster that services share.
const shared = new Stack(app, 'Shared');
const vpc = new Vpc(shared, 'Vpc', {
  maxAzs: 2,
  natGateways: 0,
  restrictDefaultSecurityGroup: false, // this would need a Lambda function
  subnetConfiguration: [
    { name: 'Public', subnetType: SubnetType.PUBLIC, mapPublicIpOnLaunch: false },
    { name: 'Database', subnetType: SubnetType.PRIVATE_ISOLATED },
  ],
});
const loadBalancer = new ApplicationLoadBalancer(shared, 'LoadBalancer', {
  vpc,
  internetFacing: true,
  idleTimeout: Duration.minutes(15), // long uploads
  dropInvalidHeaderFields: true,
});
loadBalancer.addRedirect();
const certificateArn = 'arn:aws:acm:eu-central-1:111122223333:certificate/11111111-2222-3333-4444-555555555555';
const listener = loadBalancer.addListener('Https', {
  port: 443,
  certificates: [Certificate.fromCertificateArn(shared, 'Certificate', certificateArn)],
  sslPolicy: SslPolicy.RECOMMENDED_TLS, // 1.2 or newer
  defaultAction: ListenerAction.fixedResponse(404),
});
listener.setAttribute('routing.http.response.strict_transport_security.header_value', 'max-age=31536000');
const cluster = new Cluster(shared, 'Cluster', { vpc, containerInsightsV2: ContainerInsights.DISABLED });

// Another service at the same listener.
const otherTask = new FargateTaskDefinition(shared, 'OtherTask');
otherTask.addContainer('nginx', { image: ContainerImage.fromRegistry('public.ecr.aws/nginx/nginx:stable'), portMappings: [{ containerPort: 80 }] });
const other = new FargateService(shared, 'Other', {
  cluster,
  taskDefinition: otherTask,
  desiredCount: 1,
  minHealthyPercent: 100,
  circuitBreaker: { rollback: true },
  assignPublicIp: true,
});
listener.addTargets('Other', { priority: 1, conditions: [ListenerCondition.hostHeaders(['other.example.com'])], port: 80, targets: [other] });

// MLflow at the same listener.
const stack = new Stack(app, 'MlflowSharedLoadBalancer');
const mlflow = new SecureMlflow(stack, 'Mlflow', {
  vpc,
  listener,
  listenerPriority: 100,
  cluster,
  databaseCapacity: { maxAcus: 1, pauseAfter: Duration.minutes(5) },
  cpu: 256,
  memoryLimitMiB: 1024,
  workers: 1,
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
