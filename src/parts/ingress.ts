import { Duration } from 'aws-cdk-lib';
import * as acm from 'aws-cdk-lib/aws-certificatemanager';
import * as ec2 from 'aws-cdk-lib/aws-ec2';
import * as elbv2 from 'aws-cdk-lib/aws-elasticloadbalancingv2';
import * as route53 from 'aws-cdk-lib/aws-route53';
import * as targets from 'aws-cdk-lib/aws-route53-targets';
import * as s3 from 'aws-cdk-lib/aws-s3';
import { Construct } from 'constructs';
import { ASSISTANT_PATH, PROXY_PORT } from '../settings/oauth2-proxy';

export interface IngressProps {
  readonly domainName: string;
  readonly hostedZone?: route53.IHostedZone;
  readonly certificate?: acm.ICertificate;
  readonly vpc: ec2.IVpc;
  readonly vpcSubnets: ec2.SubnetSelection;
  readonly internetFacing: boolean;
  readonly allowedSources: ec2.IPeer[];
  readonly accessLogsBucket?: s3.IBucket;
}

/** The way in: DNS record, certificate, load balancer. Where it leads is decided by who adds targets to the target group. */
export class Ingress extends Construct {
  public readonly certificate: acm.ICertificate;
  public readonly loadBalancer: elbv2.ApplicationLoadBalancer;
  public readonly listener: elbv2.ApplicationListener;
  public readonly targetGroup: elbv2.ApplicationTargetGroup;
  /** Who may come, on port 443 unless said otherwise. */
  public readonly connections: ec2.Connections;

  public constructor(scope: Construct, id: string, props: IngressProps) {
    super(scope, id);
    const { domainName, hostedZone, vpc } = props;
    const securityGroup = this.securityGroup(props);
    this.connections = new ec2.Connections({ securityGroups: [securityGroup], defaultPort: ec2.Port.tcp(443) });
    this.loadBalancer = this.defineLoadBalancer(props, securityGroup);
    this.certificate = props.certificate ?? new acm.Certificate(this, 'Certificate', {
      domainName,
      validation: acm.CertificateValidation.fromDns(hostedZone),
    });
    this.targetGroup = new elbv2.ApplicationTargetGroup(this, 'TargetGroup', {
      vpc,
      targetType: elbv2.TargetType.IP,
      protocol: elbv2.ApplicationProtocol.HTTP,
      port: PROXY_PORT,
      healthCheck: { path: '/ping', healthyHttpCodes: '200' }, // answered by the proxy, without sign-in; MLflow has a check of its own
      deregistrationDelay: Duration.minutes(2), // as long as a container may take to stop
    });
    this.listener = this.defineListeners();
    if (hostedZone !== undefined) {
      new route53.ARecord(this, 'Record', {
        zone: hostedZone,
        recordName: `${domainName}.`, // the dot: a full name, nothing is to be appended
        target: route53.RecordTarget.fromAlias(new targets.LoadBalancerTarget(this.loadBalancer)),
      });
    }
  }

  private securityGroup({ vpc, allowedSources }: IngressProps): ec2.SecurityGroup {
    const securityGroup = new ec2.SecurityGroup(this, 'SecurityGroup', {
      vpc,
      description: 'MLflow load balancer',
      allowAllOutbound: false,
    });
    for (const source of allowedSources) {
      securityGroup.addIngressRule(source, ec2.Port.tcp(443), 'HTTPS');
      securityGroup.addIngressRule(source, ec2.Port.tcp(80), 'HTTP, answered with a redirect');
    }
    return securityGroup;
  }

  private defineLoadBalancer(props: IngressProps, securityGroup: ec2.ISecurityGroup): elbv2.ApplicationLoadBalancer {
    const loadBalancer = new elbv2.ApplicationLoadBalancer(this, 'LoadBalancer', {
      vpc: props.vpc,
      vpcSubnets: props.vpcSubnets,
      internetFacing: props.internetFacing,
      securityGroup,
      idleTimeout: Duration.minutes(15), // not before oauth2-proxy gives up on MLflow
      dropInvalidHeaderFields: true,
      desyncMitigationMode: elbv2.DesyncMitigationMode.DEFENSIVE,
    });
    if (props.accessLogsBucket !== undefined) {
      loadBalancer.logAccessLogs(props.accessLogsBucket);
    }
    return loadBalancer;
  }

  /** Returns the one for HTTPS; the other redirects to it. */
  private defineListeners(): elbv2.ApplicationListener {
    const listener = this.loadBalancer.addListener('Https', {
      port: 443,
      protocol: elbv2.ApplicationProtocol.HTTPS,
      sslPolicy: elbv2.SslPolicy.TLS13_RES,
      certificates: [this.certificate],
      open: false, // the security group says who may come
      defaultTargetGroups: [this.targetGroup],
    });
    // Here and not at the server: the answers of oauth2-proxy and of the load balancer itself have it, too.
    listener.setAttribute('routing.http.response.strict_transport_security.header_value', `max-age=${Duration.days(365).toSeconds()}`);
    listener.addAction('Assistant', {
      priority: 1,
      conditions: [elbv2.ListenerCondition.pathPatterns([`${ASSISTANT_PATH}*`])],
      action: elbv2.ListenerAction.fixedResponse(403, { contentType: 'text/plain', messageBody: 'The assistant is closed.' }),
    });
    this.loadBalancer.addListener('Http', {
      port: 80,
      protocol: elbv2.ApplicationProtocol.HTTP,
      open: false,
      defaultAction: elbv2.ListenerAction.redirect({ protocol: 'HTTPS', port: '443', permanent: true }),
    });
    return listener;
  }
}
