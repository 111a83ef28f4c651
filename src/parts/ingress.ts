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

/** oauth2-proxy gives up on MLflow after this time, and the load balancer must not do so before. */
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
  /** How people's tools sign in, as JSON. */
  readonly toolsAnswer?: string;
  /** Of somebody else. */
  readonly shared?: SharedListener;
}

/** The way in: DNS record, certificate, load balancer. Where it leads is decided by who adds targets to the target group. */
export class Ingress extends Construct {
  public readonly certificate: acm.ICertificate;
  public readonly loadBalancer: elbv2.IApplicationLoadBalancer;
  /** Without a shared listener. */
  public readonly createdLoadBalancer?: elbv2.ApplicationLoadBalancer;
  public readonly listener: elbv2.IApplicationListener;
  public readonly targetGroup: elbv2.ApplicationTargetGroup;
  /** Who may come, on port 443 unless said otherwise. */
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
      healthCheck: { // answered by the proxy, without sign-in; MLflow has a check of its own
        path: '/ping',
        healthyHttpCodes: '200',
        interval: Duration.seconds(10), // a new task waits for its first
        unhealthyThresholdCount: 6, // a task that is busy for some seconds is not replaced
      },
      deregistrationDelay: Duration.minutes(2), // as long as a container may take to stop
    });
    this.listener = shared === undefined ? this.defineListeners(this.createdLoadBalancer!, props) : this.useListener(shared, props);
    if (hostedZone !== undefined) {
      new route53.ARecord(this, 'Record', {
        zone: hostedZone,
        recordName: `${domainName}.`, // the dot: a full name, nothing is to be appended
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
      if (EVERYONE.includes(source.uniqueId)) { // those that are named shall not need two of the 60 rules that a group may have
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

  /** Returns the one for HTTPS; the other redirects to it. */
  private defineListeners(loadBalancer: elbv2.ApplicationLoadBalancer, { toolsAnswer }: IngressProps): elbv2.ApplicationListener {
    const listener = loadBalancer.addListener('Https', {
      port: 443,
      protocol: elbv2.ApplicationProtocol.HTTPS,
      sslPolicy: elbv2.SslPolicy.TLS13_RES,
      certificates: [this.certificate],
      open: false, // the security group says who may come
      defaultTargetGroups: [this.targetGroup],
    });
    // Here and not at the server: the answers of oauth2-proxy and of the load balancer itself have it, too.
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

  /** The rules and the certificate belong to this construct, so that the stack of the listener needs no change. */
  private useListener({ listener, priority }: SharedListener, { domainName, toolsAnswer }: IngressProps): elbv2.IApplicationListener {
    const host = elbv2.ListenerCondition.hostHeaders([domainName]);
    new elbv2.ApplicationListenerCertificate(this, 'ListenerCertificate', { listener, certificates: [this.certificate] });
    new elbv2.ApplicationListenerRule(this, 'Assistant', { listener, priority, conditions: [host, ASSISTANT], action: CLOSED });
    if (toolsAnswer !== undefined) {
      new elbv2.ApplicationListenerRule(this, 'Tools', { listener, priority: priority + 1, conditions: [host, TOOLS], action: answerOf(toolsAnswer) });
    }
    new elbv2.ApplicationListenerRule(this, 'Rule', {
      listener,
      priority: priority + 2, // always, so that no rule takes another's number in an update
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
