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
/** Of a name in a rule: https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/aws-properties-elasticloadbalancingv2-listenerrule-hostheaderconfig.html */
const LONGEST_HOST = 128;

/** What is wrong with a listener that is brought, and with props that are about it or contradict it. */
export function listenerProblems(props: SecureMlflowProps): string[] {
  const { listener, listenerPriority, loadBalancer } = props;
  if (listener === undefined) {
    return (['loadBalancer', 'listenerPriority'] as const).filter(name => props[name] !== undefined)
      .map(name => `\`${name}\` needs \`listener\`, got none: pass the HTTPS listener of the load balancer, or leave it out`);
  }
  const problems = [
    ...wholeNumberProblems('listenerPriority', listenerPriority, 1, HIGHEST_PRIORITY - 2, `: the next two numbers are those of the other rules, and ${HIGHEST_PRIORITY} is the highest`),
    ...hostProblems(props.domainName),
    ...vpcProblems('listener', props, (loadBalancer ?? loadBalancerOf(listener))?.vpc),
    ...contradictions('listener', props, ['internetFacing', 'loadBalancerSubnets', 'allowedSources', 'accessLogsBucket'], 'load balancer'),
  ];
  if (Token.isUnresolved(listenerPriority)) {
    problems.push('`listenerPriority` must be known at synthesis, got a CDK token: the other rules have the next two numbers, and CloudFormation cannot count; write the number');
  }
  const { protocol, port } = resourceOf(listener) ?? {};
  if (known(protocol) && protocol !== 'HTTPS') {
    problems.push(`\`listener\` must be an HTTPS listener, got one for ${protocol}, where cookies and tokens would travel in plain text: pass the one on port 443`);
  } else if (known(port) && port !== 443) {
    problems.push(`\`listener\` must be on port 443, got ${port}: people and programs come to https://<domainName>, which names no port`);
  }
  if (loadBalancer !== undefined && !belongsTo(listener, loadBalancer)) {
    problems.push('`loadBalancer` must be that of `listener`, got another: the name would lead where no rule is; leave it out where the listener is of this app');
  }
  if (loadBalancerOf(listener) === undefined) {
    const imported = 'must be given where `listener` is imported, got nothing';
    if (loadBalancer === undefined) {
      problems.push(`\`loadBalancer\` ${imported}: pass it, too, such as \`ApplicationLoadBalancer.fromLookup(…)\``);
    }
    if (listenerPriority === undefined) {
      problems.push(`\`listenerPriority\` ${imported}: rules of other apps cannot be seen; choose a number that is free, and of which the next two are free, too`);
    }
  }
  return problems;
}

function hostProblems(domainName: string): string[] {
  return !known(domainName) || domainName.length <= LONGEST_HOST ? []
    : [`\`domainName\` must have at most ${LONGEST_HOST} characters where \`listener\` is given, got ${domainName.length}: the rule of a listener takes no longer name; use a shorter one`];
}

export function clusterProblems(props: SecureMlflowProps): string[] {
  const { cluster } = props;
  if (cluster === undefined) {
    return [];
  }
  const own = readable(() => cluster.vpc); // not of one that is imported by its ARN alone
  return [
    ...vpcProblems('cluster', props, own),
    ...contradictions('cluster', props, ['containerInsights'], 'cluster'),
    ...own === undefined ? ['`cluster` must know its VPC, got one that does not: import it by `ecs.Cluster.fromClusterAttributes(…)`, with `vpc`'] : [],
  ];
}

function vpcProblems(name: string, { vpc }: SecureMlflowProps, own?: ec2.IVpc): string[] {
  if (vpc === undefined) {
    return [`\`vpc\` must be given where \`${name}\` is, got nothing: pass the VPC that it is in`];
  }
  return own === undefined || own === vpc || !areComparable(own, vpc) || own.vpcId === vpc.vpcId ? []
    : [`\`vpc\` must be the one that \`${name}\` is in, got another: pass that`];
}

/** Two ids, or two VPCs that this app makes; one that is imported may be one that another stack makes. */
function areComparable(...vpcs: ec2.IVpc[]): boolean {
  return vpcs.every(({ vpcId }) => known(vpcId)) || vpcs.every(vpc => vpc instanceof ec2.Vpc);
}

/** Whether a listener may be one of the load balancer, as far as that can be seen: its ARN begins like that of the load balancer. */
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

/** What is wrong between the rules of a listener that this app defines, to be called when there are all. */
export function ruleProblems(scope: Construct, listener: elbv2.IApplicationListener): string[] {
  const rules = rulesOf(scope, listener);
  const isOwn = (rule: Construct) => rule.node.scopes.includes(scope);
  const pairs = rules.flatMap((rule, index) => rules.slice(index + 1).map(other => isOwn(rule) ? [rule, other] : [other, rule]));
  return [
    ...rules.filter(isOwn).filter(({ priority }) => priority > HIGHEST_PRIORITY)
      .map(({ priority }) => `\`listenerPriority\` must be given, got ${priority} after the highest of this app, and ${HIGHEST_PRIORITY} is the last: choose a free number, of which the next two are free, too`),
    ...pairs.filter(([rule, other]) => isOwn(rule) && rule.priority === other.priority)
      .map(([rule, other]) => `the rules of a listener must have different priorities, got ${rule.priority} for ${rule.node.path} and ${other.node.path}: choose another \`listenerPriority\`, of which the next two are free, too, or another for that rule`),
  ];
}

/** Rules that come first and take all requests for the host: cookies and tokens would go where they lead. */
export function shadowProblems(scope: Construct, { listener, priority }: SharedListener, domainName: string): string[] {
  if (!known(domainName)) {
    return [];
  }
  const first = rulesOf(scope, listener).filter(rule => !rule.node.scopes.includes(scope) && rule.priority < priority);
  return first.filter(rule => takesAllOf(domainName, Stack.of(rule).resolve(rule.conditions)))
    .map(rule => `\`listenerPriority\` must be below ${rule.priority}, got ${priority}: ${rule.node.path} takes all requests for ${domainName}, cookies and tokens included; choose a smaller number, or narrow that rule`);
}

function takesAllOf(host: string, conditions: { field?: string; hostHeaderConfig?: { values?: string[] } }[]): boolean {
  return conditions.every(({ field, hostHeaderConfig }) => field === 'host-header' && hostHeaderConfig?.values?.some(value => matches(value, host)) === true);
}

/** `*` is any text, `?` one character. */
function matches(pattern: string, host: string): boolean {
  return new RegExp(`^${pattern.replace(/[.+^${}()|[\]\\]/g, '\\$&').replaceAll('*', '.*').replaceAll('?', '.')}$`, 'i').test(host);
}

/** What the owner of the load balancer should set, and has not, or nobody can see. */
export function warningsAboutListener({ listener, loadBalancer }: SharedListener): Warnings {
  const own = attributesOf(loadBalancer.node.defaultChild, resource => (resource as elbv2.CfnLoadBalancer).loadBalancerAttributes);
  const ofListener = attributesOf(listener.node.defaultChild, resource => (resource as elbv2.CfnListener).listenerAttributes);
  const policy = resourceOf(listener)?.sslPolicy ?? '';
  const seconds = Number(own?.['idle_timeout.timeout_seconds'] ?? 60);
  const todo = [
    ...own !== undefined && seconds >= IDLE_TIMEOUT.toSeconds() ? [] : [`an idle timeout of ${IDLE_TIMEOUT.toSeconds()} s, or long uploads break`],
    ...own?.['routing.http.drop_invalid_header_fields.enabled'] === 'true' ? [] : ['`dropInvalidHeaderFields`'],
    ...ofListener?.[HSTS_ATTRIBUTE] === undefined ? [`the listener attribute ${HSTS_ATTRIBUTE}`] : [],
    ...resourceOf(listener) === undefined ? ['HTTPS on port 443, or cookies and tokens travel in plain text'] : [],
    ...Token.isUnresolved(policy) || MODERN_TLS.test(policy) ? [] : ['an `sslPolicy` of TLS 1.2 or newer, such as `SslPolicy.RECOMMENDED_TLS`'],
  ];
  return {
    ...(todo.length > 0 && {
      sharedListener: `\`listener\` belongs to a load balancer that ${own === undefined ? 'is imported, so its settings cannot be seen' : 'lacks settings'}: see to it that it has ${todo.join('; ')}`,
    }),
  };
}

/** Names of the policies that refuse TLS 1.0 and 1.1, which the one that is used where none is named accepts. */
const MODERN_TLS = /-1-[23]-/; // https://docs.aws.amazon.com/elasticloadbalancing/latest/application/describe-ssl-policies.html

/** Undefined where the listener is imported. */
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
