import { Duration } from 'aws-cdk-lib';
import * as acm from 'aws-cdk-lib/aws-certificatemanager';
import * as ec2 from 'aws-cdk-lib/aws-ec2';
import * as elbv2 from 'aws-cdk-lib/aws-elasticloadbalancingv2';
import * as route53 from 'aws-cdk-lib/aws-route53';
import * as targets from 'aws-cdk-lib/aws-route53-targets';
import * as s3 from 'aws-cdk-lib/aws-s3';
import { Construct } from 'constructs';
import type { SharedListener } from './shared-listener';
import { TOOLS_PATH } from '../auth/tools';
import { ASSISTANT_PATH, PROXY_PORT } from '../settings/oauth2-proxy';

/** oauth2-proxy times out after this time, and the load balancer must not time out earlier. */
export const IDLE_TIMEOUT = Duration.minutes(15);
export const HSTS_ATTRIBUTE = 'routing.http.response.strict_transport_security.header_value';

const EVERYONE = [ec2.Peer.anyIpv4(), ec2.Peer.anyIpv6()].map(({ uniqueId }) => uniqueId);

export interface IngressProps {
  readonly domainName: string;
  readonly hostedZone?: route53.IHostedZone;
  readonly certificate?: acm.ICertificate;
  readonly vpc: ec2.IVpc;
  readonly vpcSubnets: ec2.SubnetSelection;
  readonly internetFacing: boolean;
  readonly allowedSources: ec2.IPeer[];
  readonly accessLogsBucket?: s3.IBucket;
  /** The answer that tells people's tools how to sign in, as JSON. */
  readonly toolsAnswer?: string;
  /** The listener that other services also use, if one was passed. */
  readonly shared?: SharedListener;
}

/** DNS record, certificate, load balancer and target group. The caller adds the targets. */
export class Ingress extends Construct {
  public readonly certificate: acm.ICertificate;
  public readonly loadBalancer: elbv2.IApplicationLoadBalancer;
  /** Undefined with a shared listener. */
  public readonly createdLoadBalancer?: elbv2.ApplicationLoadBalancer;
  public readonly listener: elbv2.IApplicationListener;
  public readonly targetGroup: elbv2.ApplicationTargetGroup;
  /** Connections of the load balancer, on port 443 by default. */
  public readonly connections: ec2.Connections;

  public constructor(scope: Construct, id: string, props: IngressProps) {
    super(scope, id);
    const { domainName, hostedZone, vpc, shared } = props;
    if (shared === undefined) {
      this.createdLoadBalancer = this.defineLoadBalancer(props);
    }
    this.loadBalancer = this.createdLoadBalancer ?? shared!.loadBalancer;
    this.connections = new ec2.Connections({ securityGroups: this.loadBalancer.connections.securityGroups, defaultPort: ec2.Port.tcp(443) });
    this.certificate = props.certificate ?? new acm.Certificate(this, 'Certificate', {
      domainName,
      validation: acm.CertificateValidation.fromDns(hostedZone),
    });
    this.targetGroup = new elbv2.ApplicationTargetGroup(this, 'TargetGroup', {
      vpc,
      targetType: elbv2.TargetType.IP,
      protocol: elbv2.ApplicationProtocol.HTTP,
      port: PROXY_PORT,
      healthCheck: { // oauth2-proxy answers it without a sign-in; the container of MLflow has a separate health check
        path: '/ping',
        healthyHttpCodes: '200',
        interval: Duration.seconds(10), // a new task must pass a first check
        unhealthyThresholdCount: 6, // a task that is busy for some seconds must not be replaced
      },
      deregistrationDelay: Duration.minutes(2), // the stop timeout of the containers
    });
    this.listener = shared === undefined ? this.defineListeners(this.createdLoadBalancer!, props) : this.useListener(shared, props);
    if (hostedZone !== undefined) {
      new route53.ARecord(this, 'Record', {
        zone: hostedZone,
        recordName: `${domainName}.`, // the trailing dot marks a full name, so that the zone name is not appended
        target: route53.RecordTarget.fromAlias(new targets.LoadBalancerTarget(this.loadBalancer)),
      });
    }
  }

  private defineLoadBalancer(props: IngressProps): elbv2.ApplicationLoadBalancer {
    const { vpc, allowedSources, accessLogsBucket } = props;
    const securityGroup = new ec2.SecurityGroup(this, 'SecurityGroup', {
      vpc,
      description: 'MLflow load balancer',
      allowAllOutbound: false,
    });
    for (const source of allowedSources) {
      securityGroup.addIngressRule(source, ec2.Port.tcp(443), 'HTTPS');
      if (EVERYONE.includes(source.uniqueId)) { // a listed source must not use two of the 60 rules that a security group may have
        securityGroup.addIngressRule(source, ec2.Port.tcp(80), 'HTTP, answered with a redirect');
      }
    }
    const loadBalancer = new elbv2.ApplicationLoadBalancer(this, 'LoadBalancer', {
      vpc,
      vpcSubnets: props.vpcSubnets,
      internetFacing: props.internetFacing,
      securityGroup,
      idleTimeout: IDLE_TIMEOUT,
      dropInvalidHeaderFields: true,
      desyncMitigationMode: elbv2.DesyncMitigationMode.DEFENSIVE,
    });
    if (accessLogsBucket !== undefined) {
      loadBalancer.logAccessLogs(accessLogsBucket);
    }
    return loadBalancer;
  }

  /** Returns the HTTPS listener. The HTTP listener redirects to it. */
  private defineListeners(loadBalancer: elbv2.ApplicationLoadBalancer, { toolsAnswer }: IngressProps): elbv2.ApplicationListener {
    const listener = loadBalancer.addListener('Https', {
      port: 443,
      protocol: elbv2.ApplicationProtocol.HTTPS,
      sslPolicy: elbv2.SslPolicy.TLS13_RES,
      certificates: [this.certificate],
      open: false, // the rules of the security group are defined above
      defaultTargetGroups: [this.targetGroup],
    });
    // Set here and not by the server, so that answers of oauth2-proxy and of the load balancer itself also contain it.
    listener.setAttribute(HSTS_ATTRIBUTE, `max-age=${Duration.days(365).toSeconds()}`);
    listener.addAction('Assistant', { priority: 1, conditions: [ASSISTANT], action: CLOSED });
    if (toolsAnswer !== undefined) {
      listener.addAction('Tools', { priority: 2, conditions: [TOOLS], action: answerOf(toolsAnswer) });
    }
    loadBalancer.addListener('Http', {
      port: 80,
      protocol: elbv2.ApplicationProtocol.HTTP,
      open: false,
      defaultAction: elbv2.ListenerAction.redirect({ protocol: 'HTTPS', port: '443', permanent: true }),
    });
    return listener;
  }

  /** The rules and the certificate belong to this construct, so that the stack of the listener does not change. */
  private useListener({ listener, priority }: SharedListener, { domainName, toolsAnswer }: IngressProps): elbv2.IApplicationListener {
    const host = elbv2.ListenerCondition.hostHeaders([domainName]);
    new elbv2.ApplicationListenerCertificate(this, 'ListenerCertificate', { listener, certificates: [this.certificate] });
    new elbv2.ApplicationListenerRule(this, 'Assistant', { listener, priority, conditions: [host, ASSISTANT], action: CLOSED });
    if (toolsAnswer !== undefined) {
      new elbv2.ApplicationListenerRule(this, 'Tools', { listener, priority: priority + 1, conditions: [host, TOOLS], action: answerOf(toolsAnswer) });
    }
    new elbv2.ApplicationListenerRule(this, 'Rule', {
      listener,
      priority: priority + 2, // a fixed number, so that no rule gets the number of another rule in an update
      conditions: [host],
      action: elbv2.ListenerAction.forward([this.targetGroup]),
    });
    return listener;
  }
}

const ASSISTANT = elbv2.ListenerCondition.pathPatterns([`${ASSISTANT_PATH}*`]);
const CLOSED = elbv2.ListenerAction.fixedResponse(403, { contentType: 'text/plain', messageBody: 'The assistant is closed.' });

const TOOLS = elbv2.ListenerCondition.pathPatterns([TOOLS_PATH]);

function answerOf(messageBody: string): elbv2.ListenerAction {
  return elbv2.ListenerAction.fixedResponse(200, { contentType: 'application/json', messageBody });
}
