import { App, CfnParameter, Duration, Stack } from 'aws-cdk-lib';
import { Template } from 'aws-cdk-lib/assertions';
import * as acm from 'aws-cdk-lib/aws-certificatemanager';
import { SnsAction } from 'aws-cdk-lib/aws-cloudwatch-actions';
import * as ec2 from 'aws-cdk-lib/aws-ec2';
import * as ecs from 'aws-cdk-lib/aws-ecs';
import * as elbv2 from 'aws-cdk-lib/aws-elasticloadbalancingv2';
import * as sns from 'aws-cdk-lib/aws-sns';
import { broughtVpc, clientSecret, define, minimalProps, newApp, newStack, one, only, Overrides, OverridesOf, refusal, resources, rulesOf, synthesise, warningsIn } from './fixtures';
import { AuthProvider, FargateCapacity, MonitoringThresholds, SecureMlflow } from '../src';

interface Shared {
  readonly vpc: ec2.IVpc;
  readonly loadBalancer: elbv2.ApplicationLoadBalancer;
  readonly listener: elbv2.ApplicationListener;
}

const certificate = (stack: Stack) => acm.Certificate.fromCertificateArn(stack, 'Certificate', 'arn:aws:acm:eu-west-1:111122223333:certificate/1');
const fixed = elbv2.ListenerAction.fixedResponse(404);
const certificates = [elbv2.ListenerCertificate.fromArn('arn:aws:acm:eu-west-1:111122223333:certificate/owner')];

/** A load balancer with the recommended settings by default. */
function share(stack: Stack, options: Partial<elbv2.ApplicationLoadBalancerProps> = {}): Shared {
  const vpc = new ec2.Vpc(stack, 'Vpc', { natGateways: 0, restrictDefaultSecurityGroup: false });
  const loadBalancer = new elbv2.ApplicationLoadBalancer(stack, 'Shared', {
    vpc, internetFacing: true, idleTimeout: Duration.minutes(15), dropInvalidHeaderFields: true, ...options,
  });
  const listener = loadBalancer.addListener('Https', { port: 443, certificates, sslPolicy: elbv2.SslPolicy.TLS12, defaultAction: fixed });
  return { vpc, loadBalancer, listener };
}

const withHsts = (shared: Shared) => {
  shared.listener.setAttribute('routing.http.response.strict_transport_security.header_value', 'max-age=31536000');
  return shared;
};
const brought = (stack: Stack) => {
  const { vpc, listener } = withHsts(share(stack));
  return { vpc, listener };
};
const imported = (stack: Stack) => ({
  vpc: broughtVpc(stack),
  listener: elbv2.ApplicationListener.fromApplicationListenerAttributes(stack, 'Listener', {
    listenerArn: 'arn:aws:elasticloadbalancing:eu-west-1:111122223333:listener/app/shared/50dc6c495c0c9188/f2f7dc8efc522ab2',
    securityGroup: ec2.SecurityGroup.fromSecurityGroupId(stack, 'OwnersGroup', 'sg-shared', { allowAllOutbound: false }),
  }),
  loadBalancer: elbv2.ApplicationLoadBalancer.fromApplicationLoadBalancerAttributes(stack, 'LoadBalancer', {
    loadBalancerArn: 'arn:aws:elasticloadbalancing:eu-west-1:111122223333:loadbalancer/app/shared/50dc6c495c0c9188',
    loadBalancerDnsName: 'shared.eu-west-1.elb.amazonaws.com',
    loadBalancerCanonicalHostedZoneId: 'ZONEOFELB',
    securityGroupId: 'sg-shared',
  }),
  listenerPriority: 20,
});

const rules = (template: Template) => resources(template, 'AWS::ElasticLoadBalancingV2::ListenerRule').map(([, { Properties }]) => Properties);

describe('listener', () => {
  test('gets two rules for the host and a certificate, and there is no new load balancer', () => {
    const { template, mlflow } = synthesise(brought);
    expect(resources(template, 'AWS::ElasticLoadBalancingV2::LoadBalancer').map(([id]) => id)).toEqual([expect.stringMatching(/^Shared/)]);
    expect(resources(template, 'AWS::ElasticLoadBalancingV2::Listener')).toHaveLength(1);
    expect(mlflow.createdLoadBalancer).toBeUndefined();
    const host = { Field: 'host-header', HostHeaderConfig: { Values: ['mlflow.example.com'] } };
    expect(rules(template).map(({ Priority, Conditions, Actions: [{ Type }] }) => [Priority, Conditions, Type])).toEqual([
      [1, [host, { Field: 'path-pattern', PathPatternConfig: { Values: ['/ajax-api/3.0/mlflow/assistant*'] } }], 'fixed-response'],
      [3, [host], 'forward'],
    ]);
    expect(only(template, 'AWS::ElasticLoadBalancingV2::ListenerCertificate').Properties.Certificates)
      .toEqual([{ CertificateArn: { Ref: only(template, 'AWS::CertificateManager::Certificate').id } }]);
    const { AliasTarget } = only(template, 'AWS::Route53::RecordSet').Properties;
    expect(JSON.stringify(AliasTarget)).toContain(only(template, 'AWS::ElasticLoadBalancingV2::LoadBalancer').id);
  });

  test('gets a third rule, only for the host, if people\'s tools can sign in', () => {
    const { template } = synthesise(stack => ({
      ...brought(stack), authProvider: AuthProvider.oidc({ issuerUrl: 'https://id.example.com', clientId: 'client', clientSecret: clientSecret(stack), toolsClientId: 'tools' }),
    }));
    const found = rules(template).map(({ Priority, Conditions }) => [Priority, ...Conditions.map(({ Field }: { Field: string }) => Field)]);
    expect(found.sort()).toEqual([[1, 'host-header', 'path-pattern'], [2, 'host-header', 'path-pattern'], [3, 'host-header']]);
  });

  test('only the security group of that load balancer can reach the tasks', () => {
    const { template } = synthesise(brought);
    const ids = Object.fromEntries(resources(template, 'AWS::EC2::SecurityGroup').map(([id]) => [/Service/.test(id) ? 'tasks' : /Database/.test(id) ? 'database' : 'shared', id]));
    expect(rulesOf(template, ids.tasks, 'Ingress').map(({ SourceSecurityGroupId, FromPort, ToPort }) => [SourceSecurityGroupId, FromPort, ToPort]))
      .toEqual([[{ 'Fn::GetAtt': [ids.shared, 'GroupId'] }, 4180, 4180]]);
  });

  test('in another stack does not change that stack: the rule to the tasks is in this one', () => {
    const app = newApp();
    const owner = new Stack(app, 'Owner');
    const { vpc, listener } = withHsts(share(owner));
    const { stack } = define({ vpc, listener }, new Stack(app, 'Stack'));
    const alone = newStack();
    withHsts(share(alone));
    const own = Template.fromStack(stack);
    expect(rules(own)).toHaveLength(2);
    expect(resources(own, 'AWS::EC2::SecurityGroupEgress').map(([id]) => id).filter(id => id.includes('Shared'))).toHaveLength(1);
    expect(resources(Template.fromStack(owner)).map(([id]) => id)).toEqual(resources(Template.fromStack(alone)).map(([id]) => id));
  });

  test('that is imported is used with the given load balancer and priority', () => {
    const { template, mlflow, stack } = synthesise(imported);
    expect(rules(template).map(({ Priority }) => Priority)).toEqual([20, 22]);
    expect(only(template, 'AWS::Route53::RecordSet').Properties.AliasTarget).toMatchObject({ HostedZoneId: 'ZONEOFELB' });
    expect(only(template, 'AWS::EC2::SecurityGroupEgress', 'OwnersGroup').Properties).toMatchObject({ GroupId: 'sg-shared', FromPort: 4180 });
    expect(stack.resolve(mlflow.metrics.httpCodeElb(elbv2.HttpCodeElb.ELB_5XX_COUNT).toMetricConfig().metricStat?.dimensions))
      .toEqual([{ name: 'LoadBalancer', value: 'app/shared/50dc6c495c0c9188' }]);
    expect(stack.resolve(mlflow.metrics.requestCount().toMetricConfig().metricStat?.dimensions)[0].value).toBe('app/shared/50dc6c495c0c9188');
  });

  test('its rules come after the rules of the app', () => {
    const { template } = synthesise(stack => {
      const { vpc, listener } = brought(stack);
      listener.addAction('Other', { priority: 7, conditions: [elbv2.ListenerCondition.hostHeaders(['other.example.com'])], action: fixed });
      return { vpc, listener };
    });
    expect(rules(template).map(({ Priority }) => Priority)).toEqual([7, 8, 10]);
  });

  test.each([[7, 7], [7, 9]])('priority %i fails at synthesis if %i is used', (listenerPriority, taken) => {
    const { stack, mlflow } = define(own => ({ ...brought(own), listenerPriority }));
    (mlflow.listener as elbv2.ApplicationListener)
      .addAction('Other', { priority: taken, conditions: [elbv2.ListenerCondition.hostHeaders(['other.example.com'])], action: fixed });
    expect(() => Template.fromStack(stack)).toThrow(
      `the rules of a listener must have different priorities, got ${taken} for Stack/Mlflow/Ingress/${taken === 7 ? 'Assistant' : 'Rule'}/Resource and Stack/Shared/Https/OtherRule/Resource: choose another \`listenerPriority\` whose next two numbers are also free, or another priority for that rule`);
  });

  test('protocol and port may be CDK tokens', () => {
    const { template } = synthesise(stack => {
      const { vpc, listener } = brought(stack);
      const resource = listener.node.defaultChild as elbv2.CfnListener;
      resource.protocol = new CfnParameter(stack, 'Protocol').valueAsString;
      resource.port = new CfnParameter(stack, 'Port', { type: 'Number' }).valueAsNumber;
      return { vpc, listener };
    });
    expect(rules(template)).toHaveLength(2);
  });

  const withRule = (priority: number, ...conditions: elbv2.ListenerCondition[]) => (stack: Stack) => {
    const { vpc, listener } = brought(stack);
    listener.addAction('Other', { priority, conditions, action: fixed });
    return { vpc, listener };
  };
  const hosts = (...values: string[]) => elbv2.ListenerCondition.hostHeaders(values);

  test.each([
    ['*.example.com'], ['MLFLOW.example.com'], ['mlflow.example.???'], ['other.example.org', '*'],
  ])('a rule for %j with a lower number fails at synthesis: it would get cookies and bearer tokens', (...values) => {
    expect(() => synthesise(withRule(7, hosts(...values)))).toThrow(
      '`listenerPriority` must be below 7, got 8: Stack/Shared/Https/OtherRule/Resource receives all requests for mlflow.example.com, including cookies and bearer tokens; choose a smaller number, or narrow that rule');
  });

  test.each<[string, elbv2.ListenerCondition[]]>([
    ['another host', [hosts('other.example.com', 'mlflow.example.com.example.org', 'xmlflow.example.com')]],
    ['a host below', [hosts('*.mlflow.example.com')]],
    ['a part of the requests', [hosts('*.example.com'), elbv2.ListenerCondition.pathPatterns(['/docs/*'])]],
  ])('a rule for %s may have a lower number', (_, conditions) => {
    expect(rules(synthesise(withRule(7, ...conditions)).template).map(({ Priority }) => Priority)).toEqual([7, 8, 10]);
  });

  test('a name that is a CDK token is not checked', () => {
    const { template } = synthesise(stack => ({ ...withRule(7, hosts('*'))(stack), domainName: new CfnParameter(stack, 'Name').valueAsString }));
    expect(rules(template).map(({ Priority }) => Priority)).toEqual([7, 8, 10]);
  });

  test('a rule for all hosts may have a higher number', () => {
    const { template } = synthesise(stack => ({ ...withRule(7, hosts('*'))(stack), listenerPriority: 3 }));
    expect(rules(template).map(({ Priority }) => Priority)).toEqual([7, 3, 5]);
  });

  test.each([49997, 49998])('rules after %i of the app fail at synthesis if there is no such number', priority => {
    const synth = () => synthesise(withRule(priority, hosts('other.example.com')));
    if (priority === 49997) {
      expect(rules(synth().template).map(({ Priority }) => Priority)).toEqual([49997, 49998, 50000]);
    } else {
      expect(synth).toThrow('`listenerPriority` must be given, got 50001 as the number after the highest of this app, and 50000 is the highest allowed: choose a free number whose next two numbers are also free');
    }
  });

  test('the priority of the assistant also fails at synthesis in a new listener', () => {
    const { stack, mlflow } = define();
    mlflow.listener.addAction('Other', { priority: 1, conditions: [hosts('other.example.com')], action: fixed });
    expect(() => Template.fromStack(stack)).toThrow('the rules of a listener must have different priorities, got 1 for Stack/Mlflow/Ingress/LoadBalancer/Https/AssistantRule/Resource and Stack/Mlflow/Ingress/LoadBalancer/Https/OtherRule/Resource');
  });

  test('two deployments with one name fail at synthesis: the second would get no requests', () => {
    const stack = newStack();
    const { vpc, listener } = brought(stack);
    define({ vpc, listener }, stack);
    new SecureMlflow(stack, 'Second', { ...minimalProps(stack), hostedZone: undefined, certificate: certificate(stack), vpc, listener });
    expect(() => Template.fromStack(stack)).toThrow('`listenerPriority` must be below 3, got 4: Stack/Mlflow/Ingress/Rule/Resource receives all requests for mlflow.example.com');
  });

  test.each<[string, (stack: Stack) => Overrides, string]>([
    ['no VPC', stack => ({ listener: share(stack).listener }), '`vpc` must be given where `listener` is given, got no value: pass the VPC of `listener`'],
    ['a rule for who may connect', stack => ({ ...brought(stack), allowedSources: [] }), '`allowedSources` must be left out where `listener` is given: the owner of the load balancer decides'],
    ['public or not', stack => ({ ...brought(stack), internetFacing: true }), '`internetFacing` must be left out where `listener` is given: the owner of the load balancer decides'],
    ['no load balancer', stack => ({ ...imported(stack), loadBalancer: undefined }), '`loadBalancer` must be given where `listener` is imported, got no value: pass it as well, such as `ApplicationLoadBalancer.fromLookup(…)`'],
    ['no priority', stack => ({ ...imported(stack), listenerPriority: undefined }),
      '`listenerPriority` must be given where `listener` is imported, got no value: rules of other apps cannot be read; choose a free number whose next two numbers are also free'],
    ['a priority that is only known at deployment', stack => ({ ...brought(stack), listenerPriority: new CfnParameter(stack, 'Priority', { type: 'Number' }).valueAsNumber }),
      '`listenerPriority` must be known at synthesis, got a CDK token: the other rules get the next two numbers, which CloudFormation cannot calculate; write the number'],
    ['a priority that is none', stack => ({ ...brought(stack), listenerPriority: 50000 }),
      '`listenerPriority` must be a whole number, 1 to 49998, got 50000: the other rules get the next two numbers, and 50000 is the highest'],
    ['a name that no rule takes', stack => ({
      ...brought(stack), domainName: `${'a'.repeat(63)}.${'b'.repeat(63)}.com`, hostedZone: undefined, certificate: certificate(stack),
    }), '`domainName` must have at most 128 characters where `listener` is given, got 131: this is the limit of a listener rule; use a shorter name'],
    ['plain HTTP', stack => {
      const { vpc, loadBalancer } = share(stack);
      return { vpc, listener: loadBalancer.addListener('Http', { port: 80, defaultAction: fixed }) };
    }, '`listener` must be an HTTPS listener, got one for HTTP, which would send cookies and bearer tokens in plain text: pass the listener on port 443'],
    ['another port', stack => {
      const { vpc, loadBalancer } = share(stack);
      return { vpc, listener: loadBalancer.addListener('Other', { port: 8443, certificates, defaultAction: fixed }) };
    }, '`listener` must be on port 443, got 8443: people and programs use https://<domainName>, which contains no port; pass the listener on port 443'],
    ['the load balancer of another listener', stack => ({ ...brought(stack), loadBalancer: imported(stack).loadBalancer }),
      '`loadBalancer` must be the load balancer of `listener`, got another: requests would go to a load balancer without the rules; leave it out if this app defines the listener'],
    ['an imported load balancer of another name', stack => ({
      ...imported(stack),
      loadBalancer: elbv2.ApplicationLoadBalancer.fromApplicationLoadBalancerAttributes(stack, 'Another', {
        loadBalancerArn: 'arn:aws:elasticloadbalancing:eu-west-1:111122223333:loadbalancer/app/another/1', securityGroupId: 'sg-another',
      }),
    }), '`loadBalancer` must be the load balancer of `listener`, got another: requests would go to a load balancer without the rules; leave it out if this app defines the listener'],
    ['another VPC than that of the load balancer', stack => ({ ...brought(stack), vpc: new ec2.Vpc(stack, 'Another') }),
      '`vpc` must be the VPC of `listener`, got another: pass that VPC'],
    ['a priority without a listener', () => ({ listenerPriority: 3 }), '`listenerPriority` needs `listener`, got no listener: pass the HTTPS listener of the load balancer, or leave `listenerPriority` out'],
  ])('fails with %s', (_, overrides, problem) => {
    expect(refusal(overrides)).toBe(one(problem));
  });

  test.each<[string, (stack: Stack) => Overrides, string | undefined]>([
    ['none where all is set', brought, undefined],
    ['one where nothing is set', stack => {
      const { vpc, loadBalancer } = share(stack, { idleTimeout: undefined, dropInvalidHeaderFields: false });
      return { vpc, listener: loadBalancer.addListener('Bare', { port: 443, certificates, defaultAction: fixed }) };
    }, 'lacks settings: make sure that it has an idle timeout of 900 s, or long uploads break; `dropInvalidHeaderFields`; the listener attribute routing.http.response.strict_transport_security.header_value; an `sslPolicy` of TLS 1.2 or newer, such as `SslPolicy.RECOMMENDED_TLS`'],
    ['one where the time is short', stack => {
      const { vpc, listener } = withHsts(share(stack, { idleTimeout: Duration.seconds(899) }));
      return { vpc, listener };
    }, 'lacks settings: make sure that it has an idle timeout of 900 s, or long uploads break'],
    ['none where the policy of TLS is a CDK token', stack => {
      const { vpc, listener } = withHsts(share(stack));
      (listener.node.defaultChild as elbv2.CfnListener).sslPolicy = new CfnParameter(stack, 'Policy').valueAsString;
      return { vpc, listener };
    }, undefined],
    ['one where old TLS is accepted', stack => {
      const { vpc, listener } = withHsts(share(stack));
      (listener.node.defaultChild as elbv2.CfnListener).sslPolicy = elbv2.SslPolicy.TLS11;
      return { vpc, listener };
    }, 'lacks settings: make sure that it has an `sslPolicy` of TLS 1.2 or newer, such as `SslPolicy.RECOMMENDED_TLS`'],
    ['one where it is imported', imported, 'is imported, so its settings cannot be read: make sure that it has an idle timeout of 900 s, or long uploads break; `dropInvalidHeaderFields`; the listener attribute routing.http.response.strict_transport_security.header_value; HTTPS on port 443, or cookies and bearer tokens are sent in plain text; an `sslPolicy` of TLS 1.2 or newer, such as `SslPolicy.RECOMMENDED_TLS`'],
  ])('has %s among the warnings', (_, overrides, text) => {
    expect(warningsIn(define(overrides).stack)).toEqual(text === undefined ? [] : [['sharedListener', `\`listener\` belongs to a load balancer that ${text}`]]);
  });
});

const monitor = (overrides: OverridesOf, thresholds: MonitoringThresholds = {}) => {
  const { stack, mlflow } = define(overrides);
  mlflow.addMonitoring({ alarmActions: [new SnsAction(new sns.Topic(stack, 'Topic'))], thresholds });
  const template = Template.fromStack(stack);
  const alarms = resources(template, 'AWS::CloudWatch::Alarm').map(([id]) => /Monitoring(\w+)[0-9A-F]{8}$/.exec(id)![1]);
  return { warnings: warningsIn(stack), alarms, dashboard: JSON.stringify(only(template, 'AWS::CloudWatch::Dashboard').Properties) };
};
const insightsOf = (template: Template) => only(template, 'AWS::ECS::Cluster').Properties.ClusterSettings;
const needInsights = ['MissingTasks', 'EphemeralStorage'];

const cluster = (stack: Stack, props: ecs.ClusterProps = {}) => {
  const vpc = broughtVpc(stack);
  return { vpc, cluster: new ecs.Cluster(stack, 'Own', { vpc, ...props }) };
};

describe('cluster', () => {
  const another = (stack: Stack) => ec2.Vpc.fromVpcAttributes(stack, 'Another', {
    vpcId: 'vpc-another',
    availabilityZones: ['eu-west-1a', 'eu-west-1b'],
    publicSubnetIds: ['a', 'b'],
    publicSubnetRouteTableIds: ['a', 'b'],
    isolatedSubnetIds: ['c', 'd'],
    isolatedSubnetRouteTableIds: ['c', 'd'],
  });

  test('is used, and there is no other', () => {
    const { template, mlflow, stack } = synthesise(own => ({ ...cluster(own), cleanUp: { olderThan: Duration.days(30) } }));
    const { id } = only(template, 'AWS::ECS::Cluster');
    expect(mlflow.cluster).toBe(stack.node.findChild('Own'));
    expect(only(template, 'AWS::ECS::Service').Properties.Cluster).toEqual({ Ref: id });
    expect(only(template, 'AWS::Scheduler::Schedule').Properties.Target.Arn).toEqual({ 'Fn::GetAtt': [id, 'Arn'] });
  });

  test.each<[string, (stack: Stack) => Overrides, string]>([
    ['no VPC', stack => ({ cluster: cluster(stack).cluster }), '`vpc` must be given where `cluster` is given, got no value: pass the VPC of `cluster`'],
    ['a VPC from outside the stack', stack => ({ vpc: broughtVpc(stack), cluster: ecs.Cluster.fromClusterArn(stack, 'Own', 'arn:aws:ecs:eu-west-1:111122223333:cluster/own') }),
      '`cluster` must have a VPC, got a cluster without one: import it with `ecs.Cluster.fromClusterAttributes(…)` and its `vpc`'],
    ['another VPC', stack => ({ ...cluster(stack), vpc: another(stack) }), '`vpc` must be the VPC of `cluster`, got another: pass that VPC'],
    ['Container Insights', stack => ({ ...cluster(stack), containerInsights: ecs.ContainerInsights.DISABLED }),
      '`containerInsights` must be left out where `cluster` is given: the owner of the cluster decides'],
  ])('fails with %s', (_, overrides, problem) => {
    expect(refusal(overrides)).toBe(one(problem));
  });

  test.each<[string, (stack: Stack) => Overrides, string[], string[]]>([
    ['with Container Insights', stack => cluster(stack, { containerInsightsV2: ecs.ContainerInsights.ENHANCED }), needInsights, []],
    ['without', stack => cluster(stack, { containerInsightsV2: ecs.ContainerInsights.DISABLED }), [], ['noContainerInsights']],
    ['of which the account decides', stack => cluster(stack), needInsights, ['unseenContainerInsights']],
    ['that is imported', stack => {
      const vpc = broughtVpc(stack);
      return { vpc, cluster: ecs.Cluster.fromClusterAttributes(stack, 'Own', { clusterName: 'own', vpc }) };
    }, needInsights, ['unseenContainerInsights']],
  ])('%s has the possible alarms and warnings', (_, overrides, alarms, warnings) => {
    const monitored = monitor(overrides);
    expect(monitored.alarms.filter(name => needInsights.includes(name))).toEqual(alarms);
    expect(monitored.warnings.map(([id]) => id)).toEqual(warnings);
  });
});

describe('containerInsights', () => {
  test('is on by default', () => {
    expect(insightsOf(synthesise().template)).toEqual([{ Name: 'containerInsights', Value: 'enabled' }]);
  });

  test('off leaves out the alarms and graphs that need it, and warns', () => {
    const off = { containerInsights: ecs.ContainerInsights.DISABLED };
    expect(insightsOf(synthesise(off).template)).toEqual([{ Name: 'containerInsights', Value: 'disabled' }]);
    const monitored = monitor(off);
    expect(monitored.alarms).toHaveLength(monitor({}).alarms.length - needInsights.length);
    expect(monitored.alarms).not.toEqual(expect.arrayContaining(needInsights));
    expect(monitored.dashboard).not.toContain('ECS/ContainerInsights');
    expect(monitored.warnings).toEqual([['noContainerInsights', 'Container Insights is off, so addMonitoring leaves out these alarms: `missingTasks`, `ephemeralStorage`']]);
  });

  test.each<[string, (stack: Stack) => Overrides, ecs.CfnCluster.ClusterSettingsProperty[] | undefined, string]>([
    ['switched off', () => ({}), [{ name: 'containerInsights', value: 'disabled' }], 'got disabled in place of enabled'],
    ['left to the account', () => ({}), undefined, 'got the setting of the account in place of enabled'],
    ['switched on', stack => cluster(stack), [{ name: 'containerInsights', value: 'enabled' }], 'got enabled in place of the setting of the account'],
  ])('fails at synthesis where it is %s after addMonitoring', (_, overrides, settings, change) => {
    const { stack, mlflow } = define(overrides);
    mlflow.addMonitoring({ alarmActions: [new SnsAction(new sns.Topic(stack, 'Topic'))] });
    (mlflow.cluster.node.defaultChild as ecs.CfnCluster).clusterSettings = settings;
    expect(() => Template.fromStack(stack)).toThrow(`Container Insights of the cluster must not change after addMonitoring, ${change}: call addMonitoring last`);
  });

  test('that cannot be read warns only of the alarm that is enabled', () => {
    expect(monitor(stack => cluster(stack), { missingTasks: { enabled: false } }).warnings).toEqual([['unseenContainerInsights',
      'Container Insights of `cluster` cannot be read at synthesis, and these alarms require it: `ephemeralStorage`; turn it on, or disable the alarms in `thresholds`']]);
  });

  test('off does not warn of disabled alarms', () => {
    const off = { containerInsights: ecs.ContainerInsights.DISABLED };
    expect(monitor(off, { missingTasks: { enabled: false } }).warnings)
      .toEqual([['noContainerInsights', 'Container Insights is off, so addMonitoring leaves out these alarms: `ephemeralStorage`']]);
    expect(monitor(off, { missingTasks: { enabled: false }, ephemeralStorage: { enabled: false } }).warnings).toEqual([]);
  });

  test('on has them on the dashboard', () => {
    expect(monitor({}).dashboard).toContain('ECS/ContainerInsights');
  });
});

test('a shared load balancer has no alarm for its errors, which may belong to any service', () => {
  const { alarms, dashboard } = monitor(brought);
  expect(alarms).not.toContain('LoadBalancerErrors');
  expect(dashboard).not.toContain('HTTPCode_ELB_5XX_Count');
  expect(monitor({}).alarms).toContain('LoadBalancerErrors');
});

describe('capacity', () => {
  const service = (template: Template) => only(template, 'AWS::ECS::Service');

  test('is on demand by default', () => {
    const { template } = synthesise();
    expect(service(template).Properties).toMatchObject({ LaunchType: 'FARGATE' });
    expect(resources(template, 'AWS::ECS::ClusterCapacityProviderAssociations')).toEqual([]);
  });

  test('SPOT runs the service there, after the cluster has it', () => {
    const { template } = synthesise({ capacity: FargateCapacity.SPOT });
    expect(service(template).Properties.LaunchType).toBeUndefined();
    expect(service(template).Properties.CapacityProviderStrategy).toEqual([{ CapacityProvider: 'FARGATE_SPOT', Weight: 1 }]);
    const { id, Properties } = only(template, 'AWS::ECS::ClusterCapacityProviderAssociations');
    expect(Properties).toEqual({ Cluster: { Ref: only(template, 'AWS::ECS::Cluster').id }, CapacityProviders: ['FARGATE_SPOT'], DefaultCapacityProviderStrategy: [] });
    expect(service(template).DependsOn).toContain(id);
  });

  test('SPOT depends on the capacity provider of a cluster of the app', () => {
    const { template } = synthesise(stack => {
      const vpc = broughtVpc(stack);
      return { vpc, cluster: new ecs.Cluster(stack, 'Own', { vpc, enableFargateCapacityProviders: true }), capacity: FargateCapacity.SPOT };
    });
    expect(service(template).DependsOn).toContain(only(template, 'AWS::ECS::ClusterCapacityProviderAssociations').id);
  });

  test('SPOT fails with a cluster of the app without the capacity provider', () => {
    const { stack } = define(own => {
      const vpc = broughtVpc(own);
      return { vpc, cluster: new ecs.Cluster(own, 'Own', { vpc }), capacity: FargateCapacity.SPOT };
    });
    expect(() => Template.fromStack(stack)).toThrow(
      '`cluster` must have the capacity provider FARGATE_SPOT where `capacity` is SPOT, got Stack/Own without it: create the cluster with `enableFargateCapacityProviders: true`');
  });

  test('SPOT does not change an existing cluster', () => {
    const { template } = synthesise(stack => {
      const vpc = broughtVpc(stack);
      return { vpc, cluster: ecs.Cluster.fromClusterAttributes(stack, 'Own', { clusterName: 'own', vpc }), capacity: FargateCapacity.SPOT };
    });
    expect(service(template).Properties.CapacityProviderStrategy).toEqual([{ CapacityProvider: 'FARGATE_SPOT', Weight: 1 }]);
    expect(resources(template, 'AWS::ECS::ClusterCapacityProviderAssociations')).toEqual([]);
  });
});

describe('dummy values of lookups are not checked', () => {
  const env = { account: '111122223333', region: 'eu-west-1' };
  const lookedUp = (app: App, id: string, vpc: ec2.VpcLookupOptions) => {
    const stack = new Stack(app, id, { env });
    const loadBalancer = elbv2.ApplicationLoadBalancer.fromLookup(stack, 'LoadBalancer', { loadBalancerTags: { id } });
    const listener = elbv2.ApplicationListener.fromLookup(stack, 'Listener', { loadBalancerTags: { id }, listenerPort: 443 });
    return define({ vpc: ec2.Vpc.fromLookup(stack, 'Vpc', vpc), listener, loadBalancer, listenerPriority: 100 }, stack).stack;
  };

  test('and not compared, in two stacks', () => {
    const app = newApp();
    lookedUp(app, 'One', { vpcId: 'vpc-1' });
    lookedUp(app, 'Other', { vpcId: 'vpc-2' });
    expect(app.synth().manifest.missing?.map(({ provider }) => provider)).toEqual(expect.arrayContaining(['load-balancer', 'load-balancer-listener', 'vpc-provider']));
  });

  /** The resources that the CDK CLI finds in the account. */
  const arn = 'arn:aws:elasticloadbalancing:eu-west-1:111122223333';
  const found: Record<string, unknown> = {
    'load-balancer': {
      loadBalancerArn: `${arn}:loadbalancer/app/shared/1`,
      loadBalancerCanonicalHostedZoneId: 'ZONEOFELB',
      loadBalancerDnsName: 'shared.example.com',
      vpcId: 'vpc-1',
      securityGroupIds: ['sg-1'],
      ipAddressType: 'ipv4',
    },
    'load-balancer-listener': { listenerArn: `${arn}:listener/app/shared/1/2`, listenerPort: 443, securityGroupIds: ['sg-1'] },
    'security-group': { securityGroupId: 'sg-1', allowAllOutbound: false },
    'vpc-provider': {
      vpcId: 'vpc-1',
      vpcCidrBlock: '10.0.0.0/16',
      availabilityZones: [],
      subnetGroups: ['Public', 'Private'].map(type => ({
        name: type,
        type,
        subnets: ['a', 'b'].map(zone => ({ subnetId: `subnet-${type}-${zone}`, cidr: '10.0.0.0/24', availabilityZone: `eu-west-1${zone}`, routeTableId: `rtb-${type}-${zone}` })),
      })),
    },
  };

  test.each([{ vpcId: 'vpc-1' }, { vpcName: 'shared' }])('in several rounds, until all are found, with the VPC by %j', vpc => {
    const context: Record<string, unknown> = {};
    for (let round = 0; round < 5; round += 1) {
      const app = newApp(context);
      const stack = lookedUp(app, 'One', vpc);
      const { missing = [] } = app.synth().manifest;
      if (missing.length === 0) {
        expect(rules(Template.fromStack(stack)).map(({ Priority }) => Priority)).toEqual([100, 102]);
        return;
      }
      missing.forEach(({ key, provider }) => { context[key] = found[provider]; });
    }
    throw new Error('something was never found');
  });
});

test('two deployments share a listener', () => {
  const stack = newStack();
  const { vpc, listener } = brought(stack);
  define({ vpc, listener }, stack);
  new SecureMlflow(stack, 'Second', { ...minimalProps(stack), domainName: 'second.example.com', vpc, listener });
  expect(rules(Template.fromStack(stack)).map(({ Priority }) => Priority)).toEqual([1, 3, 4, 6]);
});
