/** The sources that figures of the pages are compared with: synthesised resources and files of the repository. */

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { App, Stack } from 'aws-cdk-lib';
import { Template } from 'aws-cdk-lib/assertions';
import { SnsAction } from 'aws-cdk-lib/aws-cloudwatch-actions';
import * as ecs from 'aws-cdk-lib/aws-ecs';
import { HostedZone } from 'aws-cdk-lib/aws-route53';
import * as secretsmanager from 'aws-cdk-lib/aws-secretsmanager';
import * as sns from 'aws-cdk-lib/aws-sns';
import { root } from './steps.mjs';
import { AuthProvider } from '../src/auth/auth-provider.js';
import type { SecureMlflowProps } from '../src/props.js';
import { SecureMlflow } from '../src/secure-mlflow.js';

/* eslint-disable @typescript-eslint/no-explicit-any -- templates have no types */

export type Resources = Record<string, { readonly Type: string; readonly Properties: any }>;

/** The resources of the props of the quick start, or of these and more. */
export function synthesise(more: Partial<SecureMlflowProps> = {}, { monitored = false } = {}): Resources {
  const stack = new Stack(new App(), 'Facts');
  const mlflow = new SecureMlflow(stack, 'Mlflow', {
    domainName: 'mlflow.example.com',
    hostedZone: HostedZone.fromHostedZoneAttributes(stack, 'Zone', { zoneName: 'example.com', hostedZoneId: 'ZONE' }),
    authProvider: AuthProvider.google({
      clientId: '1234.apps.googleusercontent.com',
      clientSecret: ecs.Secret.fromSecretsManager(secretsmanager.Secret.fromSecretNameV2(stack, 'OAuth', 'mlflow/oauth'), 'clientSecret'),
    }),
    emailDomains: ['example.com'],
    ...more,
  });
  if (monitored) {
    mlflow.addMonitoring({ alarmActions: [new SnsAction(new sns.Topic(stack, 'Topic'))] });
  }
  return Template.fromStack(stack).toJSON().Resources;
}

/** The properties of the first resource of a type whose id contains `part`. */
export function propertiesIn(resources: Resources): (type: string, part?: string) => any {
  return (type, part = '') => {
    const [, found] = Object.entries(resources).find(([id, { Type }]) => Type === type && id.includes(part)) ?? [];
    if (found === undefined) {
      throw new Error(`there is no ${type} with "${part}" in its id: correct scripts/facts.mts`);
    }
    return found.Properties;
  };
}

export function read(path: string): string {
  return readFileSync(join(root, path), 'utf8');
}

/** The group of the pattern in a file. */
export function find(path: string, pattern: RegExp): string {
  const [, found] = pattern.exec(read(path)) ?? [];
  if (found === undefined) {
    throw new Error(`${path} has no match for ${pattern}: correct the pattern in scripts/`);
  }
  return found;
}

