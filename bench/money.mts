/** The cost of each example a month: the quantities in its synthesised template, times the prices in prices.json. */

import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Table } from './table.mjs';
import { root, synthesise } from '../local/run.mjs';

const hours = 730; // a month

interface Price {
  readonly row: string;
  readonly what: string;
  readonly unit: string;
  readonly price: number;
  readonly page: string;
  readonly noted: string;
  /** Another source of the price: a name in `sources`. */
  readonly confirmed: string;
}

/** The quantities of an alternative, by the names of prices: hours, units a month, and shares of a load. */
interface Other {
  readonly name: string;
  readonly hours?: Record<string, number>;
  readonly month?: Record<string, number>;
  readonly load: Record<string, keyof typeof load>;
}

const { prices, others } = JSON.parse(readFileSync(join(import.meta.dirname, 'prices.json'), 'utf8')) as { prices: Record<string, Price>; others: Other[] };

/** The use of the server, which is not in a template. */
const load = {
  database: { what: 'database awake, at 1 ACU on average, hours (22 days of 10)', rest: 0, use: 220 },
  databaseStorage: { what: 'database, GB', rest: 10, use: 10 },
  loadBalancer: { what: 'load balancer, LCU-hours (1 LCU while the database is awake)', rest: 0, use: 220 },
  wayOut: { what: 'through NAT gateways (images, sign-in, logs; not S3), GB', rest: 1, use: 20 },
  logs: { what: 'logs, GB', rest: 0.5, use: 2 },
  artifacts: { what: 'artifacts, GB', rest: 0, use: 100 },
  accessLogs: { what: 'access logs, where they are on, GB', rest: 0, use: 1 },
  sessions: { what: 'requests of people, where their sessions are on the server (1 ECPU for a session up to 1 KB), millions', rest: 0, use: 1 },
  people: { what: 'people who sign in at Cognito, where there is a pool', rest: 0, use: 25 },
  machineTokens: { what: 'tokens of each machine client of Cognito (one an hour while the database is awake), thousands', rest: 0, use: 0.22 },
  cleanUpMinutes: { what: 'minutes of each clean-up, where there is one', rest: 5, use: 5 },
  cleanUpImage: { what: 'image of each clean-up, GB through a NAT gateway', rest: 1, use: 1 },
};

/** A quantity with a price, at rest and in use. */
interface Quantity {
  readonly price: string;
  readonly rest: number;
  readonly use: number;
}

type State = 'rest' | 'use';
type Properties = Record<string, any>;

export interface Template {
  readonly Description?: string;
  readonly Resources: Record<string, { readonly Type: string; readonly Properties?: Properties }>;
}

const allTheTime = (price: string, count: number): Quantity => ({ price, rest: count * hours, use: count * hours });
const aMonth = (price: string, count: number): Quantity => ({ price, rest: count, use: count });
function asUsed(price: string, name: keyof typeof load, count = 1): Quantity {
  const { rest, use } = load[name];
  return { price, rest: count * rest, use: count * use };
}

/** The metrics of Container Insights for a Fargate cluster: ten each for cluster, service and task family, five for the service, two for the cluster. */
const containerInsightsMetrics = 37; // https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/Container-Insights-metrics-ECS.html

/** The priced quantities of each resource type. */
const priced: Record<string, (properties: Properties, template: Template) => Quantity[]> = {
  'AWS::ApplicationAutoScaling::ScalingPolicy': ({ PolicyType }) => {
    only('PolicyType', PolicyType, 'TargetTrackingScaling');
    return [aMonth('alarm', 2)]; // created by AWS: https://docs.aws.amazon.com/AmazonECS/latest/developerguide/service-autoscaling-targettracking.html
  },
  'AWS::CloudWatch::Alarm': ({ Metrics }) => [aMonth('alarm', Metrics === undefined ? 1 : Metrics.filter(({ MetricStat }: Properties) => MetricStat).length)],
  'AWS::CloudWatch::Dashboard': () => [aMonth('dashboard', 1)],
  'AWS::Cognito::UserPool': ({ UserPoolTier }) => {
    only('UserPoolTier', UserPoolTier, 'ESSENTIALS');
    return [asUsed('person', 'people')];
  },
  'AWS::Cognito::UserPoolClient': ({ AllowedOAuthFlows }) => AllowedOAuthFlows.includes('client_credentials') ? [asUsed('machineToken', 'machineTokens')] : [],
  'AWS::EC2::EIP': () => [allTheTime('publicAddress', 1)],
  'AWS::EC2::NatGateway': (_, template) => [allTheTime('natGateway', 1), asUsed('natData', 'wayOut', 1 / all(template, 'AWS::EC2::NatGateway').length)],
  'AWS::EC2::VPCEndpoint': ({ VpcEndpointType, SubnetIds }) => VpcEndpointType === 'Interface' ? [allTheTime('interfaceEndpoint', SubnetIds.length)] : [],
  'AWS::ECS::Cluster': ({ ClusterSettings = [] }) => {
    const insights = ClusterSettings.find(({ Name }: Properties) => Name === 'containerInsights')?.Value ?? 'disabled';
    only('containerInsights', insights, 'enabled', 'disabled');
    return insights === 'enabled' ? [aMonth('metric', containerInsightsMetrics)] : [];
  },
  'AWS::ECS::Service': ({ DesiredCount, TaskDefinition, NetworkConfiguration, CapacityProviderStrategy = [] }, template) => {
    const count = DesiredCount ?? all(template, 'AWS::ApplicationAutoScaling::ScalableTarget')[0].MinCapacity;
    const task = template.Resources[TaskDefinition.Ref].Properties!;
    CapacityProviderStrategy.forEach(({ CapacityProvider }: Properties) => only('CapacityProvider', CapacityProvider, 'FARGATE_SPOT'));
    return [
      ...fargate(task, NetworkConfiguration, count * hours, CapacityProviderStrategy.length > 0),
      aMonth('secret', broughtSecrets(task)),
      asUsed('bucket', 'artifacts'), // also for an existing bucket
    ];
  },
  'AWS::ElasticLoadBalancingV2::LoadBalancer': ({ Type, Scheme, Subnets, LoadBalancerAttributes }) => {
    only('Type', Type, 'application');
    const logged = LoadBalancerAttributes.some(({ Key, Value }: Properties) => Key === 'access_logs.s3.enabled' && Value === 'true');
    return [
      allTheTime('loadBalancer', 1),
      allTheTime('publicAddress', Scheme === 'internet-facing' ? Subnets.length : 0), // one for each zone
      asUsed('bucket', 'accessLogs', logged ? 1 : 0),
    ];
  },
  'AWS::ElasticLoadBalancingV2::TargetGroup': () => [asUsed('loadBalancerCapacity', 'loadBalancer')], // also for an existing load balancer
  'AWS::ElastiCache::ServerlessCache': ({ Engine }) => {
    only('Engine', Engine, 'valkey');
    return [allTheTime('sessionStorage', 0.1), asUsed('sessionRequests', 'sessions')]; // at least 100 MB are billed, which is enough for a hundred thousand sessions
  },
  'AWS::KMS::Key': () => [aMonth('key', 1)],
  'AWS::Logs::LogGroup': ({ RetentionInDays }, template) => {
    const share = 1 / all(template, 'AWS::Logs::LogGroup').length; // all groups have the same retention
    return [asUsed('logs', 'logs', share), asUsed('logStorage', 'logs', share * RetentionInDays / 30)];
  },
  'AWS::Logs::MetricFilter': () => [{ price: 'metric', rest: 0, use: 1 }], // only while it has data
  'AWS::RDS::DBCluster': () => [asUsed('auroraStorage', 'databaseStorage')],
  'AWS::RDS::DBInstance': ({ DBInstanceClass, DBClusterIdentifier }, template) => {
    only('DBInstanceClass', DBInstanceClass, 'db.serverless');
    const { MinCapacity } = capacity(template, DBClusterIdentifier.Ref);
    const awake = (state: State) => load.database[state] * Math.max(MinCapacity, 1) + (hours - load.database[state]) * MinCapacity;
    return [{ price: 'auroraCapacity', rest: awake('rest'), use: awake('use') }];
  },
  'AWS::Route53::RecordSet': (_, template) => [aMonth('hostedZone', 1 / all(template, 'AWS::Route53::RecordSet').length)], // all are in one zone, which is used only for this
  'AWS::Scheduler::Schedule': ({ ScheduleExpression, Target }, template) => {
    if (!/^cron\(\d+ \d+ \? \* \w{3} \*\)$/.test(ScheduleExpression)) {
      throw new Error(`the schedule ${ScheduleExpression} is not supported: only a day of each week is`);
    }
    const times = hours / 24 / 7;
    const { MinCapacity, SecondsUntilAutoPause } = capacity(template);
    const { TaskDefinitionArn, NetworkConfiguration } = Target.EcsParameters;
    const ran = times * load.cleanUpMinutes.use / 60;
    return [
      ...fargate(template.Resources[TaskDefinitionArn.Ref].Properties!, NetworkConfiguration, ran),
      aMonth('auroraCapacity', MinCapacity === 0 ? ran + times * SecondsUntilAutoPause / 3600 : 0), // a database that never pauses costs no more
      asUsed('natData', 'cleanUpImage', all(template, 'AWS::EC2::NatGateway').length > 0 ? times : 0),
    ];
  },
  'AWS::SecretsManager::Secret': () => [aMonth('secret', 1)],
};

/** Resource types without a price, with the reason. A type that is missing in both lists is an error, so that none is forgotten. */
const free: Record<string, string> = {
  'AWS::ApplicationAutoScaling::ScalableTarget': 'the tasks and the alarms are counted',
  'AWS::CertificateManager::Certificate': 'public certificates are free',
  'AWS::Cognito::ManagedLoginBranding': 'part of the pool',
  'AWS::Cognito::UserPoolDomain': 'part of the pool',
  'AWS::Cognito::UserPoolGroup': 'part of the pool',
  'AWS::Cognito::UserPoolResourceServer': 'part of the pool',
  'AWS::EC2::FlowLog': 'what it writes is counted as logs',
  'AWS::EC2::InternetGateway': 'traffic out of it is not counted',
  'AWS::EC2::Route': 'a setting of the VPC',
  'AWS::EC2::RouteTable': 'a setting of the VPC',
  'AWS::EC2::SecurityGroup': 'a setting of the VPC',
  'AWS::EC2::SecurityGroupEgress': 'a setting of the VPC',
  'AWS::EC2::SecurityGroupIngress': 'a setting of the VPC',
  'AWS::EC2::Subnet': 'a setting of the VPC',
  'AWS::EC2::SubnetRouteTableAssociation': 'a setting of the VPC',
  'AWS::EC2::VPC': 'what is in it has the prices',
  'AWS::EC2::VPCGatewayAttachment': 'a setting of the VPC',
  'AWS::ECS::ClusterCapacityProviderAssociations': 'a setting of the cluster',
  'AWS::ECS::TaskDefinition': 'counted where it runs: service, schedule',
  'AWS::ElasticLoadBalancingV2::Listener': 'part of the load balancer',
  'AWS::ElasticLoadBalancingV2::ListenerCertificate': 'part of the load balancer',
  'AWS::ElasticLoadBalancingV2::ListenerRule': 'part of the load balancer',
  'AWS::ElastiCache::User': 'part of the cache',
  'AWS::ElastiCache::UserGroup': 'part of the cache',
  'AWS::IAM::Policy': 'IAM is free',
  'AWS::IAM::Role': 'IAM is free',
  'AWS::RDS::DBClusterParameterGroup': 'part of the database',
  'AWS::RDS::DBSubnetGroup': 'part of the database',
  'AWS::S3::Bucket': 'what is in it is counted where it comes from: service, load balancer',
  'AWS::S3::BucketPolicy': 'part of the bucket',
  'AWS::Scheduler::ScheduleGroup': 'a name for schedules',
  'AWS::SecretsManager::SecretTargetAttachment': 'part of the secret',
  'AWS::SNS::Subscription': 'a few e-mails: 2.00 for 100 000',
  'AWS::SNS::Topic': 'a few messages: 0.50 for a million',
};

function all(template: Template, type: string): Properties[] {
  return Object.values(template.Resources).filter(({ Type }) => Type === type).map(({ Properties: properties = {} }) => properties);
}

/** Throws for a value that needs another price or other arithmetic. */
function only(what: string, value: unknown, ...known: string[]): void {
  if (!known.includes(value as string)) {
    throw new Error(`${what} is ${JSON.stringify(value)}: only the price of ${known.join(' and ')} is known`);
  }
}

function fargate(task: Properties, { AwsvpcConfiguration }: Properties, taskHours: number, spot = false): Quantity[] {
  const { Cpu, Memory, EphemeralStorage = { SizeInGiB: 20 }, RuntimePlatform } = task;
  const processor = RuntimePlatform.CpuArchitecture === 'ARM64' ? 'Arm' : 'X86';
  if (spot) {
    only('CpuArchitecture on Spot', RuntimePlatform.CpuArchitecture, 'ARM64');
  }
  const kind = `fargate${processor}${spot ? 'Spot' : ''}`;
  return [
    aMonth(`${kind}Cpu`, taskHours * Number(Cpu) / 1024),
    aMonth(`${kind}Memory`, taskHours * Number(Memory) / 1024),
    aMonth('fargateDisk', taskHours * (EphemeralStorage.SizeInGiB - 20)),
    aMonth('publicAddress', AwsvpcConfiguration.AssignPublicIp === 'ENABLED' ? taskHours : 0),
  ];
}

/** The number of existing secrets that a task reads from Secrets Manager. Parameters of Parameter Store are free. */
function broughtSecrets({ ContainerDefinitions }: Properties): number {
  const names = JSON.stringify(ContainerDefinitions).matchAll(/:secret:([^":]+)/g);
  return new Set([...names].map(([, name]) => name)).size;
}

/** The capacity of a database. Without an id, that of the only one. */
function capacity(template: Template, id?: string): Properties {
  const cluster = id === undefined ? all(template, 'AWS::RDS::DBCluster')[0] : template.Resources[id].Properties!;
  return cluster.ServerlessV2ScalingConfiguration;
}

export function quantities(template: Template): Quantity[] {
  return Object.entries(template.Resources).flatMap(([id, { Type, Properties: properties = {} }]) => {
    if (Type in priced) {
      return priced[Type](properties, template);
    }
    if (Type in free) {
      return [];
    }
    throw new Error(`${id} is an ${Type}: bench/money.mts has neither its price nor the reason why it is free`);
  });
}

function ofOther({ hours: running = {}, month = {}, load: used }: Other): Quantity[] {
  return [
    ...Object.entries(running).map(([price, count]) => allTheTime(price, count)),
    ...Object.entries(month).map(([price, count]) => aMonth(price, count)),
    ...Object.entries(used).map(([price, name]) => asUsed(price, name)),
  ];
}

/** The cost of quantities in a state: of all, or of one row. */
export function cost(of: Quantity[], state: State, row?: string): number {
  return of
    .filter(({ price }) => row === undefined || prices[price].row === row)
    .reduce((sum, quantity) => sum + quantity[state] * prices[quantity.price].price, 0);
}

/** The templates of an app's stacks whose names begin with `kind`, sorted by name. */
export async function templates(app: string, kind: string): Promise<Template[]> {
  const assembly = await synthesise(app, join(root, '.try', 'money'));
  const files = readdirSync(assembly).filter(file => file.startsWith(kind) && file.endsWith('.template.json'));
  if (files.length === 0) {
    throw new Error(`no stack of ${app} has a name that begins with ${kind}`);
  }
  return files
    .sort(new Intl.Collator('en', { numeric: true }).compare)
    .map(file => JSON.parse(readFileSync(join(assembly, file), 'utf8')) as Template);
}

/** The title of the table for the README. */
export const inShort = 'Cost in short, USD a month';

export async function computeMoney(): Promise<Table[]> {
  const examples: Record<string, Quantity[]> = {};
  for (const example of readdirSync(join(root, 'examples', 'typescript'))) {
    examples[example] = (await templates(`examples/typescript/${example}/app.ts`, 'Mlflow')).flatMap(quantities);
  }
  const variants = await templates('bench/options-app.ts', 'Variant');
  const options = await templates('bench/options-app.ts', 'Option');
  const everything: Record<string, Quantity[]> = {
    ...examples,
    ...Object.fromEntries(variants.map(variant => [variant.Description!, quantities(variant)])),
    ...Object.fromEntries(others.map(other => [other.name, ofOther(other)])),
  };
  const added = (option: Template, state: State) => cost(quantities(option), state) - cost(examples['quick-start'], state);
  const rows = [...new Set(Object.values(prices).map(({ row }) => row))].filter(row => Object.values(examples).some(of => cost(of, 'use', row) > 0));

  const costs = Object.entries(everything).map(([what, of]) => ({ what, 'at rest': dollars(cost(of, 'rest')), 'in use': dollars(cost(of, 'use')) }));
  return [
    { title: 'Cost, USD a month', rows: costs },
    { title: inShort, rows: costs.filter(({ what }) => ['cheapest', 'quick-start', 'production'].includes(what)) },
    {
      title: 'Cost by row, USD a month',
      rows: rows.map(row => ({ row, ...Object.fromEntries(Object.entries(examples).map(([example, of]) => [example, atRestAndInUse(of, row)])) })),
    },
    {
      title: 'Cost of options, USD a month more than the quick start',
      rows: options.map(option => ({ 'option': option.Description!, 'at rest': dollars(added(option, 'rest')), 'in use': dollars(added(option, 'use')) })),
    },
    { title: 'Use that costs are computed for', rows: Object.values(load).map(({ what, rest, use }) => ({ what, 'at rest': rest, 'in use': use })) },
    { title: 'Prices, USD', rows: Object.values(prices).map(({ what, unit, price, page, noted, confirmed }) => ({ what, price, per: unit, page, noted, confirmed })) },
  ];
}

function atRestAndInUse(of: Quantity[], row: string): string {
  const [rest, use] = [cost(of, 'rest', row), cost(of, 'use', row)].map(dollars);
  if (rest === use) {
    return use === '0.00' ? '' : use;
  }
  return `${rest} / ${use}`;
}

function dollars(amount: number): string {
  return amount.toFixed(2);
}
