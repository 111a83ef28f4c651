/** Reads a synthesised template and evaluates its intrinsic functions as CloudFormation would. */

import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { isDeepStrictEqual } from 'node:util';

/** The account and the region of an app that does not set them. */
export const anywhere = { account: '123456789012', region: 'eu-central-1' };

interface Resource {
  readonly Type: string;
  readonly Properties: Record<string, unknown>;
}

interface Output {
  readonly Value: unknown;
  readonly Export?: { readonly Name: string };
}

type Attributes = Record<string, (id: string, template: Template) => string>;

/** Values that CloudFormation returns for a resource: `Ref`, and the attributes of `Fn::GetAtt`. */
const attributes: Record<string, Attributes> = {
  'AWS::CertificateManager::Certificate': { Ref: id => id },
  'AWS::Cognito::UserPool': { Ref: (id, { region }) => `${region}_${id}`, ProviderName: (id, { region }) => `cognito-idp.${region}.amazonaws.com/${region}_${id}` },
  'AWS::Cognito::UserPoolClient': { Ref: id => id, ClientSecret: id => `secret-of-${id}` },
  'AWS::Cognito::UserPoolDomain': { Ref: (id, template) => template.properties<{ Domain: string }>(id).Domain },
  'AWS::Cognito::UserPoolResourceServer': { Ref: (id, template) => template.properties<{ Identifier: string }>(id).Identifier },
  'AWS::EC2::SecurityGroup': { GroupId: id => id },
  'AWS::EC2::Subnet': { Ref: id => id },
  'AWS::EC2::VPC': { Ref: id => id },
  'AWS::ECS::Cluster': { Ref: id => id, Arn: (id, { account, region }) => `arn:aws:ecs:${region}:${account}:cluster/${id}` },
  'AWS::ECS::TaskDefinition': { Ref: id => id },
  'AWS::ElasticLoadBalancingV2::Listener': { Ref: id => id },
  'AWS::ElasticLoadBalancingV2::LoadBalancer': { Ref: id => id },
  'AWS::ElasticLoadBalancingV2::TargetGroup': { Ref: id => id },
  'AWS::ElastiCache::ServerlessCache': {
    'Endpoint.Address': (id, template) => `${template.properties<{ ServerlessCacheName: string }>(id).ServerlessCacheName}-try.serverless.euc1.cache.amazonaws.com`,
  },
  'AWS::ElastiCache::User': { Ref: (id, template) => template.properties<{ UserId: string }>(id).UserId },
  'AWS::ElastiCache::UserGroup': { Ref: (id, template) => template.properties<{ UserGroupId: string }>(id).UserGroupId },
  'AWS::IAM::Role': { Ref: id => id, Arn: (id, { account }) => `arn:aws:iam::${account}:role/${id}` },
  'AWS::KMS::Key': { Ref: id => id, Arn: (id, { account, region }) => `arn:aws:kms:${region}:${account}:key/${id}` },
  'AWS::Logs::LogGroup': { Ref: id => id, Arn: (id, { account, region }) => `arn:aws:logs:${region}:${account}:log-group:${id}:*` },
  'AWS::RDS::DBCluster': { 'Ref': id => id.toLowerCase(), 'Endpoint.Address': (id, { region }) => `${id.toLowerCase()}.cluster-try.${region}.rds.amazonaws.com`, 'DBClusterResourceId': id => `cluster-${id}` },
  'AWS::RDS::DBClusterParameterGroup': { Ref: id => id },
  'AWS::RDS::DBSubnetGroup': { Ref: id => id },
  'AWS::S3::Bucket': { Ref: id => id.toLowerCase(), Arn: id => `arn:aws:s3:::${id.toLowerCase()}` },
  'AWS::Scheduler::ScheduleGroup': { Ref: id => id },
  'AWS::SecretsManager::Secret': { Ref: (id, { account, region }) => `arn:aws:secretsmanager:${region}:${account}:secret:${id}` },
  'AWS::SecretsManager::SecretTargetAttachment': { Ref: (id, template) => template.properties<{ SecretId: string }>(id).SecretId },
};

export class Template {
  /** Reads the template of a stack, or merges those of several or all stacks. */
  static read(assembly: string, stacks?: readonly string[]): Template {
    const files = readdirSync(assembly).filter(file => file.endsWith('.template.json') && (stacks?.includes(file.slice(0, -'.template.json'.length)) ?? true));
    const templates = files.map(file => JSON.parse(readFileSync(join(assembly, file), 'utf8')) as Partial<Record<'Resources' | 'Outputs', object>>);
    if (files.length === 0) {
      throw new Error(`expected templates in ${assembly}, found none`);
    }
    const merged = (key: 'Resources' | 'Outputs') => {
      const ids = templates.flatMap(template => Object.keys(template[key] ?? {}));
      const doubles = ids.filter((id, index) => ids.indexOf(id) < index);
      if (doubles.length > 0) {
        throw new Error(`several templates in ${assembly} have ${key} with the same id: ${doubles.join()}`);
      }
      return Object.assign({}, ...templates.map(template => template[key]));
    };
    return new Template(merged('Resources'), merged('Outputs'), environmentOf(assembly, stacks));
  }

  readonly account: string;
  readonly region: string;
  private readonly pseudoParameters: Record<string, string>;

  private constructor(
    private readonly resources: Record<string, Resource>, private readonly outputs: Record<string, Output>, { account, region }: typeof anywhere,
  ) {
    this.account = account;
    this.region = region;
    this.pseudoParameters = {
      'AWS::AccountId': account,
      'AWS::Partition': 'aws',
      'AWS::Region': region,
      'AWS::StackId': `arn:aws:cloudformation:${region}:${account}:stack/try/00000000-0000-0000-0000-000000000000`,
      'AWS::StackName': 'try',
      'AWS::URLSuffix': 'amazonaws.com',
    };
  }

  /** Logical ids of the resources that another template changes, adds or removes. */
  differences({ resources }: Template): string[] {
    return Object.keys({ ...this.resources, ...resources }).filter(id => !isDeepStrictEqual(this.resources[id], resources[id]));
  }

  /** Logical ids of the resources of a type. */
  ids(type: string): string[] {
    return Object.keys(this.resources).filter(id => this.resources[id].Type === type);
  }

  /** The evaluated properties of a resource. */
  properties<T>(id: string): T {
    return this.evaluate(this.resources[id].Properties, id) as T;
  }

  all<T>(type: string): T[] {
    return this.ids(type).map(id => this.properties<T>(id));
  }

  single<T>(type: string): T {
    const ids = this.ids(type);
    if (ids.length !== 1) {
      throw new Error(`expected one ${type} in the template, found ${ids.length}`);
    }
    return this.properties<T>(ids[0]);
  }

  output(name: string): string {
    return this.evaluate(this.outputs[name].Value, `output ${name}`) as string;
  }

  /** `Ref` or an attribute of a resource, as `Fn::GetAtt` returns it. */
  attribute(id: string, attribute: string, where = id): string {
    if (attribute === 'Ref' && id in this.pseudoParameters) {
      return this.pseudoParameters[id];
    }
    const evaluate = attributes[this.resources[id]?.Type]?.[attribute];
    if (evaluate === undefined) {
      throw new Error(`${where}: ${attribute} of ${id} is not supported here`);
    }
    return evaluate(id, this);
  }

  private evaluate(value: unknown, where: string): unknown {
    if (Array.isArray(value)) {
      return value.map((element, index) => this.evaluate(element, `${where}[${index}]`));
    }
    if (typeof value !== 'object' || value === null) {
      return value;
    }
    const entries = Object.entries(value);
    if (entries.length === 1 && (entries[0][0] === 'Ref' || entries[0][0].startsWith('Fn::'))) {
      return this.intrinsic(entries[0][0], entries[0][1], where);
    }
    return Object.fromEntries(entries.map(([key, element]) => [key, this.evaluate(element, `${where}.${key}`)]));
  }

  private intrinsic(name: string, argument: unknown, where: string): unknown {
    switch (name) {
      case 'Ref':
        return this.attribute(argument as string, 'Ref', where);
      case 'Fn::GetAtt': {
        const [id, attribute] = argument as [string, string];
        return this.attribute(id, attribute, where);
      }
      case 'Fn::ImportValue': {
        const output = Object.values(this.outputs).find(({ Export }) => Export?.Name === argument);
        if (output === undefined) {
          throw new Error(`${where}: no stack exports ${argument}`);
        }
        return this.evaluate(output.Value, where);
      }
      case 'Fn::Join': {
        const [separator, parts] = this.evaluate(argument, where) as [string, string[]];
        return parts.join(separator);
      }
      case 'Fn::Select': {
        const [index, list] = this.evaluate(argument, where) as [number, unknown[]];
        return list[index];
      }
      case 'Fn::Split': {
        const [separator, text] = this.evaluate(argument, where) as [string, string];
        return text.split(separator);
      }
      case 'Fn::Sub': {
        const [text, variables] = (Array.isArray(argument) ? argument : [argument, {}]) as [string, Record<string, unknown>];
        return text.replace(/\$\{(!?)([^}]+)\}/g, (_, literal, reference) => {
          if (literal) {
            return `\${${reference}}`;
          }
          if (reference in variables) {
            return String(this.evaluate(variables[reference], where));
          }
          const [id, ...attribute] = reference.split('.');
          return this.attribute(id, attribute.join('.') || 'Ref', where);
        });
      }
      default:
        throw new Error(`${where}: ${name} ${JSON.stringify(argument)} is not supported here`);
    }
  }
}

/** Account and region of the first stack that sets them. */
function environmentOf(assembly: string, stacks?: readonly string[]): typeof anywhere {
  const { artifacts } = JSON.parse(readFileSync(join(assembly, 'manifest.json'), 'utf8')) as { artifacts: Record<string, { environment?: string }> };
  const environments = Object.entries(artifacts).filter(([name]) => stacks?.includes(name) ?? true).map(([, { environment }]) => environment?.split('/') ?? []);
  const known = (part: number) => environments.map(parts => parts[part]).find(value => value !== undefined && !value.startsWith('unknown-'));
  return { account: known(2) ?? anywhere.account, region: known(3) ?? anywhere.region };
}
