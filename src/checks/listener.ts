import { Stack, Token } from 'aws-cdk-lib';
import * as ec2 from 'aws-cdk-lib/aws-ec2';
import * as elbv2 from 'aws-cdk-lib/aws-elasticloadbalancingv2';
import type { Construct } from 'constructs';
import { known, readable, wholeNumberProblems } from './problems';
import type { Warnings } from './warnings';
import { HSTS_ATTRIBUTE, IDLE_TIMEOUT } from '../parts/ingress';
import { loadBalancerOf, rulesOf, SharedListener } from '../parts/shared-listener';
import type { SecureMlflowProps } from '../props';

/** https://docs.aws.amazon.com/elasticloadbalancing/latest/application/listener-rules.html */
const HIGHEST_PRIORITY = 50000;
/** Maximum length of a host name in a rule: https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/aws-properties-elasticloadbalancingv2-listenerrule-hostheaderconfig.html */
const LONGEST_HOST = 128;

/** Problems of a listener that was passed, and of props that depend on it or contradict it. */
export function listenerProblems(props: SecureMlflowProps): string[] {
  const { listener, listenerPriority, loadBalancer } = props;
  if (listener === undefined) {
    return (['loadBalancer', 'listenerPriority'] as const).filter(name => props[name] !== undefined)
      .map(name => `\`${name}\` needs \`listener\`, got no listener: pass the HTTPS listener of the load balancer, or leave \`${name}\` out`);
  }
  const problems = [
    ...wholeNumberProblems('listenerPriority', listenerPriority, 1, HIGHEST_PRIORITY - 2, `: the other rules get the next two numbers, and ${HIGHEST_PRIORITY} is the highest`),
    ...hostProblems(props.domainName),
    ...vpcProblems('listener', props, (loadBalancer ?? loadBalancerOf(listener))?.vpc),
    ...contradictions('listener', props, ['internetFacing', 'loadBalancerSubnets', 'allowedSources', 'accessLogsBucket'], 'load balancer'),
  ];
  if (Token.isUnresolved(listenerPriority)) {
    problems.push('`listenerPriority` must be known at synthesis, got a CDK token: the other rules get the next two numbers, which CloudFormation cannot calculate; write the number');
  }
  const { protocol, port } = resourceOf(listener) ?? {};
  if (known(protocol) && protocol !== 'HTTPS') {
    problems.push(`\`listener\` must be an HTTPS listener, got one for ${protocol}, which would send cookies and bearer tokens in plain text: pass the listener on port 443`);
  } else if (known(port) && port !== 443) {
    problems.push(`\`listener\` must be on port 443, got ${port}: people and programs use https://<domainName>, which contains no port; pass the listener on port 443`);
  }
  if (loadBalancer !== undefined && !belongsTo(listener, loadBalancer)) {
    problems.push('`loadBalancer` must be the load balancer of `listener`, got another: requests would go to a load balancer without the rules; leave it out if this app defines the listener');
  }
  if (loadBalancerOf(listener) === undefined) {
    const imported = 'must be given where `listener` is imported, got no value';
    if (loadBalancer === undefined) {
      problems.push(`\`loadBalancer\` ${imported}: pass it as well, such as \`ApplicationLoadBalancer.fromLookup(…)\``);
    }
    if (listenerPriority === undefined) {
      problems.push(`\`listenerPriority\` ${imported}: rules of other apps cannot be read; choose a free number whose next two numbers are also free`);
    }
  }
  return problems;
}

function hostProblems(domainName: string): string[] {
  return !known(domainName) || domainName.length <= LONGEST_HOST ? []
    : [`\`domainName\` must have at most ${LONGEST_HOST} characters where \`listener\` is given, got ${domainName.length}: this is the limit of a listener rule; use a shorter name`];
}

export function clusterProblems(props: SecureMlflowProps): string[] {
  const { cluster } = props;
  if (cluster === undefined) {
    return [];
  }
  const own = readable(() => cluster.vpc); // undefined for a cluster that is imported only by its ARN
  return [
    ...vpcProblems('cluster', props, own),
    ...contradictions('cluster', props, ['containerInsights'], 'cluster'),
    ...own === undefined ? ['`cluster` must have a VPC, got a cluster without one: import it with `ecs.Cluster.fromClusterAttributes(…)` and its `vpc`'] : [],
  ];
}

function vpcProblems(name: string, { vpc }: SecureMlflowProps, own?: ec2.IVpc): string[] {
  if (vpc === undefined) {
    return [`\`vpc\` must be given where \`${name}\` is given, got no value: pass the VPC of \`${name}\``];
  }
  return own === undefined || own === vpc || !areComparable(own, vpc) || own.vpcId === vpc.vpcId ? []
    : [`\`vpc\` must be the VPC of \`${name}\`, got another: pass that VPC`];
}

/** Two ids, or two VPCs that this app defines. An imported VPC may be the same as one that another stack defines. */
function areComparable(...vpcs: ec2.IVpc[]): boolean {
  return vpcs.every(({ vpcId }) => known(vpcId)) || vpcs.every(vpc => vpc instanceof ec2.Vpc);
}

/** Whether a listener may belong to the load balancer, as far as known: its ARN begins like that of the load balancer. */
function belongsTo(listener: elbv2.IApplicationListener, loadBalancer: elbv2.IApplicationLoadBalancer): boolean {
  const own = loadBalancerOf(listener);
  if (own !== undefined) {
    return own === loadBalancer;
  }
  const [listenerName, name] = [listener.listenerArn, loadBalancer.loadBalancerArn].map(arn => known(arn) ? arn.split('/').slice(1, 4).join('/') : undefined);
  return listenerName === undefined || name === undefined || listenerName === name;
}

function contradictions(name: string, props: SecureMlflowProps, others: (keyof SecureMlflowProps)[], what: string): string[] {
  return others.filter(other => props[other] !== undefined).map(other => `\`${other}\` must be left out where \`${name}\` is given: the owner of the ${what} decides`);
}

/** Conflicts between the rules of a listener that this app defines. It must be called when all rules are defined. */
export function ruleProblems(scope: Construct, listener: elbv2.IApplicationListener): string[] {
  const rules = rulesOf(scope, listener);
  const isOwn = (rule: Construct) => rule.node.scopes.includes(scope);
  const pairs = rules.flatMap((rule, index) => rules.slice(index + 1).map(other => isOwn(rule) ? [rule, other] : [other, rule]));
  return [
    ...rules.filter(isOwn).filter(({ priority }) => priority > HIGHEST_PRIORITY)
      .map(({ priority }) => `\`listenerPriority\` must be given, got ${priority} as the number after the highest of this app, and ${HIGHEST_PRIORITY} is the highest allowed: choose a free number whose next two numbers are also free`),
    ...pairs.filter(([rule, other]) => isOwn(rule) && rule.priority === other.priority)
      .map(([rule, other]) => `the rules of a listener must have different priorities, got ${rule.priority} for ${rule.node.path} and ${other.node.path}: choose another \`listenerPriority\` whose next two numbers are also free, or another priority for that rule`),
  ];
}

/** Rules with a higher precedence that match all requests for the host: cookies and bearer tokens would go to their targets. */
export function shadowProblems(scope: Construct, { listener, priority }: SharedListener, domainName: string): string[] {
  if (!known(domainName)) {
    return [];
  }
  const first = rulesOf(scope, listener).filter(rule => !rule.node.scopes.includes(scope) && rule.priority < priority);
  return first.filter(rule => takesAllOf(domainName, Stack.of(rule).resolve(rule.conditions)))
    .map(rule => `\`listenerPriority\` must be below ${rule.priority}, got ${priority}: ${rule.node.path} receives all requests for ${domainName}, including cookies and bearer tokens; choose a smaller number, or narrow that rule`);
}

function takesAllOf(host: string, conditions: { field?: string; hostHeaderConfig?: { values?: string[] } }[]): boolean {
  return conditions.every(({ field, hostHeaderConfig }) => field === 'host-header' && hostHeaderConfig?.values?.some(value => matches(value, host)) === true);
}

/** `*` matches any text, `?` one character. */
function matches(pattern: string, host: string): boolean {
  return new RegExp(`^${pattern.replace(/[.+^${}()|[\]\\]/g, '\\$&').replaceAll('*', '.*').replaceAll('?', '.')}$`, 'i').test(host);
}

/** Settings that the owner of the load balancer should change, or that cannot be read. */
export function warningsAboutListener({ listener, loadBalancer }: SharedListener): Warnings {
  const own = attributesOf(loadBalancer.node.defaultChild, resource => (resource as elbv2.CfnLoadBalancer).loadBalancerAttributes);
  const ofListener = attributesOf(listener.node.defaultChild, resource => (resource as elbv2.CfnListener).listenerAttributes);
  const policy = resourceOf(listener)?.sslPolicy ?? '';
  const seconds = Number(own?.['idle_timeout.timeout_seconds'] ?? 60);
  const todo = [
    ...own !== undefined && seconds >= IDLE_TIMEOUT.toSeconds() ? [] : [`an idle timeout of ${IDLE_TIMEOUT.toSeconds()} s, or long uploads break`],
    ...own?.['routing.http.drop_invalid_header_fields.enabled'] === 'true' ? [] : ['`dropInvalidHeaderFields`'],
    ...ofListener?.[HSTS_ATTRIBUTE] === undefined ? [`the listener attribute ${HSTS_ATTRIBUTE}`] : [],
    ...resourceOf(listener) === undefined ? ['HTTPS on port 443, or cookies and bearer tokens are sent in plain text'] : [],
    ...Token.isUnresolved(policy) || MODERN_TLS.test(policy) ? [] : ['an `sslPolicy` of TLS 1.2 or newer, such as `SslPolicy.RECOMMENDED_TLS`'],
  ];
  return {
    ...(todo.length > 0 && {
      sharedListener: `\`listener\` belongs to a load balancer that ${own === undefined ? 'is imported, so its settings cannot be read' : 'lacks settings'}: make sure that it has ${todo.join('; ')}`,
    }),
  };
}

/** Names of the policies that refuse TLS 1.0 and 1.1. The default policy accepts both. */
const MODERN_TLS = /-1-[23]-/; // https://docs.aws.amazon.com/elasticloadbalancing/latest/application/describe-ssl-policies.html

/** Undefined if the listener is imported. */
function resourceOf({ node }: elbv2.IApplicationListener): elbv2.CfnListener | undefined {
  return node.defaultChild instanceof elbv2.CfnListener ? node.defaultChild : undefined;
}

type Attributes = Record<string, string | undefined>;

function attributesOf(resource: unknown, read: (resource: unknown) => unknown): Attributes | undefined {
  if (!(resource instanceof elbv2.CfnLoadBalancer || resource instanceof elbv2.CfnListener)) {
    return undefined;
  }
  const attributes: { key: string; value?: string }[] = Stack.of(resource).resolve(read(resource)) ?? [];
  return Object.fromEntries(attributes.map(({ key, value }) => [key, value]));
}
