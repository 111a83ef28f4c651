import { mkdtempSync, rmSync } from 'fs';
import { tmpdir } from 'os';
import { join } from 'path';
import { App, Stack } from 'aws-cdk-lib';
import { Template } from 'aws-cdk-lib/assertions';
import * as ec2 from 'aws-cdk-lib/aws-ec2';
import * as ecs from 'aws-cdk-lib/aws-ecs';
import * as route53 from 'aws-cdk-lib/aws-route53';
import * as secretsmanager from 'aws-cdk-lib/aws-secretsmanager';
import { ArtifactMetadataEntryType } from 'aws-cdk-lib/cloud-assembly-schema';
import { AuthProvider, SecureMlflow, SecureMlflowProps } from '../src';

export type Overrides = Partial<SecureMlflowProps>;

/** Props that differ from the minimal ones, or a function that returns them if they need the stack. */
export type OverridesOf = Overrides | ((stack: Stack) => Overrides);

// The CDK creates a folder for every app and never removes it.
const folder = mkdtempSync(join(tmpdir(), 'secure-mlflow-'));
afterAll(() => rmSync(folder, { recursive: true }));

export function newApp(context: Record<string, unknown> = {}): App {
  return new App({ context, outdir: mkdtempSync(join(folder, 'app-')) });
}

export function newStack(context?: Record<string, unknown>): Stack {
  return new Stack(newApp(context), 'Stack');
}

/** The minimum: three props and a zone. */
export function minimalProps(stack: Stack): SecureMlflowProps {
  const zone = stack.node.tryFindChild('Zone') as route53.IHostedZone | undefined;
  return {
    domainName: 'mlflow.example.com',
    hostedZone: zone ?? route53.HostedZone.fromHostedZoneAttributes(stack, 'Zone', { zoneName: 'example.com', hostedZoneId: 'ZONE' }),
    authProvider: AuthProvider.google({ clientId: '1234.apps.googleusercontent.com', clientSecret: clientSecret(stack) }),
    emailDomains: ['example.com'],
  };
}

/** The options that a provider gets. */
export const bindOptions = { url: 'https://mlflow.example.com', redirectUrl: 'https://mlflow.example.com/oauth2/callback', emailDomains: ['example.com'] };

export function clientSecret(stack: Stack): ecs.Secret {
  const existing = stack.node.tryFindChild('OAuth') as secretsmanager.ISecret | undefined;
  return ecs.Secret.fromSecretsManager(existing ?? secretsmanager.Secret.fromSecretNameV2(stack, 'OAuth', 'mlflow/oauth'), 'clientSecret');
}

/** `Mlflow` in the stack, not yet synthesized. */
export function define(overrides: OverridesOf = {}, stack = newStack()): { stack: Stack; mlflow: SecureMlflow } {
  const changes = typeof overrides === 'function' ? overrides(stack) : overrides;
  return { stack, mlflow: new SecureMlflow(stack, 'Mlflow', { ...minimalProps(stack), ...changes }) };
}

export function synthesise(overrides: OverridesOf = {}, stack = newStack()): { stack: Stack; mlflow: SecureMlflow; template: Template } {
  const { mlflow } = define(overrides, stack);
  return { stack, mlflow, template: Template.fromStack(stack) };
}

/** The error message for the props, after checking that no construct was defined. */
export function refusal(overrides: OverridesOf, stack = newStack()): string {
  try {
    define(overrides, stack);
  } catch (error) {
    expect(stack.node.findChild('Mlflow').node.children).toEqual([]);
    return (error as Error).message;
  }
  throw new Error('nothing was refused');
}

/** The error message with one problem. */
export const one = (problem: string) => `Stack/Mlflow: a prop needs a change\n  - ${problem}`;

/** Ids and texts of our warnings that synthesis would print. The CDK has other warnings about references between stacks. */
export function warningsIn(stack: Stack): [id: string, text: string][] {
  const warnings = stack.node.findAll().flatMap(({ node }) => node.metadata).filter(({ type }) => type === ArtifactMetadataEntryType.WARN);
  return warnings.flatMap(({ data }): [string, string][] => {
    const [, text, id] = /^(.*) \[ack: cdk-secure-mlflow:(\w+)\]$/.exec(String(data)) ?? [];
    return id === undefined ? [] : [[id, text]];
  });
}

export interface SubnetKinds { readonly public?: boolean; readonly private?: boolean; readonly isolated?: boolean }

/** An existing VPC with public, private and isolated subnets in two zones, as far as they are requested. */
export function broughtVpc(stack: Stack, kinds: SubnetKinds = { public: true, private: true, isolated: true }): ec2.IVpc {
  return ec2.Vpc.fromVpcAttributes(stack, 'BroughtVpc', {
    vpcId: 'vpc-brought',
    availabilityZones: ['eu-west-1a', 'eu-west-1b'],
    // Without route tables the CDK warns, which would hide our warnings.
    ...(kinds.public && { publicSubnetIds: ['subnet-public-a', 'subnet-public-b'], publicSubnetRouteTableIds: ['rtb-public-a', 'rtb-public-b'] }),
    ...(kinds.private && { privateSubnetIds: ['subnet-private-a', 'subnet-private-b'], privateSubnetRouteTableIds: ['rtb-private-a', 'rtb-private-b'] }),
    ...(kinds.isolated && { isolatedSubnetIds: ['subnet-isolated-a', 'subnet-isolated-b'], isolatedSubnetRouteTableIds: ['rtb-isolated-a', 'rtb-isolated-b'] }),
  });
}

/* eslint-disable @typescript-eslint/no-explicit-any -- templates have no types */

export interface Resource {
  readonly Type: string;
  readonly Properties: any;
  readonly DependsOn?: string[];
  readonly DeletionPolicy?: string;
  readonly UpdateReplacePolicy?: string;
}

export function resources(template: Template, type?: string): [id: string, resource: Resource][] {
  const all = Object.entries(template.toJSON().Resources as Record<string, Resource>);
  return all.filter(([, resource]) => type === undefined || resource.Type === type);
}

/** The only resource of its type whose id contains `part`. */
export function only(template: Template, type: string, part = ''): Resource & { readonly id: string } {
  const found = resources(template, type).filter(([id]) => id.includes(part));
  if (found.length !== 1) {
    throw new Error(`there are ${found.length} resources ${type} with "${part}" in their id, not one`);
  }
  return { id: found[0][0], ...found[0][1] };
}

export function containers(template: Template): any[] {
  return only(template, 'AWS::ECS::TaskDefinition', 'Service').Properties.ContainerDefinitions;
}

export function container(template: Template, name: string): any {
  return containers(template).find(({ Name }) => Name === name);
}

export function environmentOf(template: Template, name: string): Record<string, any> {
  return Object.fromEntries(container(template, name).Environment.map(({ Name, Value }: any) => [Name, Value]));
}

export function secretsOf(template: Template, name: string): Record<string, any> {
  return Object.fromEntries((container(template, name).Secrets ?? []).map(({ Name, ValueFrom }: any) => [Name, ValueFrom]));
}

/** Statements of the policies attached to the role whose id contains `role`. */
export function statementsOf(template: Template, role: string): any[] {
  return resources(template, 'AWS::IAM::Policy')
    .filter(([, { Properties }]) => Properties.Roles.some(({ Ref }: any) => Ref?.includes(role)))
    .flatMap(([, { Properties }]) => Properties.PolicyDocument.Statement);
}

/** Inbound (or outbound) rules of a security group, inside the group or as separate resources. */
export function rulesOf(template: Template, groupId: string, direction: 'Ingress' | 'Egress'): any[] {
  const group = resources(template).find(([id]) => id === groupId)![1];
  const own = resources(template, `AWS::EC2::SecurityGroup${direction}`)
    .map(([, { Properties }]) => Properties)
    .filter(({ GroupId }) => GroupId['Fn::GetAtt'][0] === groupId);
  return [...group.Properties[`SecurityGroup${direction}`] ?? [], ...own];
}
