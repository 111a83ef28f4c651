import { Token } from 'aws-cdk-lib';
import * as elbv2 from 'aws-cdk-lib/aws-elasticloadbalancingv2';
import type { Construct } from 'constructs';
import { isStandIn } from '../checks/problems';
import type { SecureMlflowProps } from '../props';

/** A listener that other services also use. */
export interface SharedListener {
  readonly listener: elbv2.IApplicationListener;
  readonly loadBalancer: elbv2.IApplicationLoadBalancer;
  readonly priority: number;
}

/** The listener that was passed, or undefined. The props have already been validated. */
export function sharedListener(scope: Construct, { listener, loadBalancer, listenerPriority }: SecureMlflowProps): SharedListener | undefined {
  return listener && {
    listener,
    loadBalancer: loadBalancer ?? loadBalancerOf(listener)!,
    priority: listenerPriority ?? Math.max(0, ...rulesOf(scope, listener).map(rule => rule.priority)) + 1,
  };
}

/** Undefined if the listener is imported. */
export function loadBalancerOf(listener: elbv2.IApplicationListener): elbv2.IApplicationLoadBalancer | undefined {
  return (listener as Partial<elbv2.ApplicationListener>).loadBalancer;
}

/** The rules of the listener that this app defines. */
export function rulesOf(scope: Construct, listener: elbv2.IApplicationListener): elbv2.CfnListenerRule[] {
  if (isStandIn(listener.listenerArn)) {
    return []; // all listeners that are not yet looked up have the same dummy ARN
  }
  return scope.node.root.node.findAll().filter((construct): construct is elbv2.CfnListenerRule => construct instanceof elbv2.CfnListenerRule)
    .filter(rule => rule.listenerArn === listener.listenerArn && !Token.isUnresolved(rule.priority));
}
