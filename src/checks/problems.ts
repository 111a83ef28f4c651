import { isIPv4 } from 'net';
import { Duration, Token } from 'aws-cdk-lib';
import type * as ecs from 'aws-cdk-lib/aws-ecs';

/** Throws one error with all problems, if there are any. */
export function throwProblems(path: string, problems: string[]): void {
  if (problems.length > 0) {
    throw new Error([`${path}: ${problems.length === 1 ? 'a prop needs a change' : `${problems.length} props need a change`}`, ...problems].join('\n  - '));
  }
}

/** Whether a value is known at synthesis. CDK tokens, and dummy values that the CDK uses before a lookup, are not. */
export function known<T>(value: T | undefined): value is T {
  return value !== undefined && !Token.isUnresolved(value) && !isStandIn(value);
}

/** Dummy values of `StringParameter.valueFromLookup`, and of `fromLookup` of load balancers, listeners, VPCs and security groups. Each module of the CDK calls them `dummyValue`. */
const STAND_INS = /dummy-value-for-|arn:aws:elasticloadbalancing:us-west-2:123456789012:|^vpc-12345$|^sg-12345678$/;

/** Whether a value is, or contains, a dummy value of a lookup. The CDK runs the app once with such values and discards the result. */
export function isStandIn(value: unknown): boolean {
  return typeof value === 'string' && STAND_INS.test(value);
}

export function show(value: unknown): string {
  try {
    return typeof value === 'number' ? String(value) : JSON.stringify(value); // JSON does not support NaN
  } catch {
    return 'constructs'; // they refer to each other
  }
}

export const LABEL = '[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?';
export const DOMAIN = new RegExp(`^(?=.{4,253}$)(${LABEL}\\.)+${LABEL}$`);

/** A host name with a dot, or an IPv4 address. */
export function isHost(host: string): boolean {
  return DOMAIN.test(host) && (isIPv4(host) || !/\.\d+$/.test(host));
}

/** A property of an imported resource, or undefined if the resource does not have it: the CDK then throws an error. */
export function readable<T>(read: () => T): T | undefined {
  try {
    return read();
  } catch {
    return undefined;
  }
}

/** A day in seconds. */
export const DAY = 86400;

export function wholeDaysProblems(name: string, duration: Duration | undefined, todo: string, most = Infinity): string[] {
  const seconds = secondsOf(duration);
  return seconds === undefined || (seconds >= DAY && seconds <= most * DAY && seconds % DAY === 0) ? []
    : [`\`${name}\` must be whole days, ${most === Infinity ? '1 or more' : `1 to ${most}`}, got ${duration!.toHumanString()}: ${todo}`];
}

/** Undefined if the duration is missing or a CDK token. */
export function secondsOf(duration?: Duration): number | undefined {
  return duration === undefined || duration.isUnresolved() ? undefined : duration.toSeconds({ integral: false });
}

/** `todo` says what to do, if the range does not make it clear. */
export function wholeNumberProblems(name: string, value: number | undefined, least: number, most?: number, todo = ''): string[] {
  if (!known(value) || (Number.isInteger(value) && value >= least && (most === undefined || value <= most))) {
    return [];
  }
  return [`\`${name}\` must be a whole number, ${most === undefined ? `${least} or more` : `${least} to ${most}`}, got ${show(value)}${todo}`];
}

/** Why a value is not an `ecs.Secret`. The message does not contain the value, because it may be a plain-text secret. */
export function noSecretOfEcs(value: unknown): string | undefined {
  return typeof (value as ecs.Secret | undefined)?.grantRead === 'function' ? undefined
    : `must be an ecs.Secret, got a value of type ${typeof value}: use \`ecs.Secret.fromSecretsManager(…)\` or \`fromSsmParameter(…)\``;
}
