import { Duration, Lazy, Stack } from 'aws-cdk-lib';
import { Template } from 'aws-cdk-lib/assertions';
import { Alarm, CfnAlarm, MetricOptions, TextWidget } from 'aws-cdk-lib/aws-cloudwatch';
import { SnsAction } from 'aws-cdk-lib/aws-cloudwatch-actions';
import { HttpCodeElb, HttpCodeTarget } from 'aws-cdk-lib/aws-elasticloadbalancingv2';
import * as kms from 'aws-cdk-lib/aws-kms';
import * as s3 from 'aws-cdk-lib/aws-s3';
import * as sns from 'aws-cdk-lib/aws-sns';
import { AwsSolutionsChecks } from 'cdk-nag';
import { define, newApp, newStack, only, OverridesOf, Resource, resources, synthesise } from './fixtures';
import { MonitoringThresholds, SecureMlflow, SecureMlflowMetrics } from '../src';

/* eslint-disable @typescript-eslint/no-explicit-any -- templates have no types */

interface Monitored { readonly stack: Stack; readonly mlflow: SecureMlflow; readonly template: Template }

function monitor(thresholds?: MonitoringThresholds, overrides?: OverridesOf): Monitored {
  const { stack, mlflow } = define(overrides);
  mlflow.addMonitoring({ alarmActions: [new SnsAction(new sns.Topic(stack, 'Topic'))], ...(thresholds && { thresholds }) });
  return { stack, mlflow, template: Template.fromStack(stack) };
}

function regional(overrides: (stack: Stack) => OverridesOf): Monitored {
  const stack = new Stack(newApp(), 'Stack', { env: { region: 'eu-west-1' } });
  const { mlflow } = define(overrides(stack), stack);
  return { stack, mlflow, template: Template.fromStack(stack) };
}

/** The alarms of a template by the last part of their path. */
function alarms(template: Template): Record<string, any> {
  return Object.fromEntries(resources(template, 'AWS::CloudWatch::Alarm')
    .map(([id, { Properties }]) => [/Monitoring(\w+)[0-9A-F]{8}$/.exec(id)![1], Properties]));
}

/** The value of the metric of an alarm, if each metric has the value given by its name. Undefined: no data. */
function measured(alarm: any, valueOf: (metricName: string) => number | undefined): number | undefined {
  if (alarm.MetricName !== undefined) {
    return valueOf(alarm.MetricName);
  }
  const values = alarm.Metrics.filter(({ MetricStat }: any) => MetricStat)
    .map(({ Id, MetricStat }: any) => [Id, valueOf(MetricStat.Metric.MetricName)]);
  const { Expression } = alarm.Metrics.find(({ ReturnData }: any) => ReturnData !== false);
  if (values.some(([, value]: any) => value === undefined)) {
    return undefined;
  }
  const SUM = (series: number[]) => series.reduce((sum, value) => sum + value, 0);
  const result = new Function('SUM', ...values.map(([id]: any) => id), `return ${Expression}`)(SUM, ...values.map(([, value]: any) => value));
  return Number.isFinite(result) ? result : undefined; // division by zero returns no data
}

/** Whether the alarm rings, starting without a state, if its metric keeps this value. */
function rings(alarm: any, valueOf: (metricName: string) => number | undefined): boolean {
  const value = measured(alarm, valueOf);
  if (value === undefined) {
    // `missing` only prevents OK; `ignore` keeps the state, which was never ALARM.
    return alarm.TreatMissingData === 'breaching';
  }
  switch (alarm.ComparisonOperator) {
    case 'GreaterThanOrEqualToThreshold':
      return value >= alarm.Threshold;
    case 'LessThanOrEqualToThreshold':
      return value <= alarm.Threshold;
    default:
      throw new Error(`${alarm.ComparisonOperator} is not played here`);
  }
}

/** Metrics that are not 0 on an idle system: a valid certificate has days left. */
const idle = (metricName: string) => metricName === 'DaysToExpiry' ? 198 : 0;

const names = [
  'ArtifactStorage', 'CertificateExpiry', 'Cpu', 'DatabaseCapacity', 'DatabaseConnections', 'DatabaseStorage', 'EphemeralStorage', 'FailedCleanUps',
  'FailedPreparations', 'Latency', 'LoadBalancerErrors', 'Memory', 'MissingTasks', 'RefusedRequests', 'RefusedSignIns', 'TargetErrors', 'TaskStarts', 'UnhealthyTargets', 'UnstartedCleanUps',
];

const everything: OverridesOf = { cleanUp: { olderThan: Duration.days(30) } };

describe('without addMonitoring', () => {
  test('there is no alarm, dashboard or metric filter', () => {
    const types = resources(Template.fromStack(define().stack)).map(([, { Type }]) => Type);
    expect(types.filter(type => type.startsWith('AWS::CloudWatch') || type === 'AWS::Logs::MetricFilter')).toEqual([]);
  });
});

describe('with addMonitoring', () => {
  let stack: Stack;
  let template: Template;

  beforeAll(() => {
    ({ stack, template } = monitor(undefined, everything));
  });

  test('there are these alarms', () => {
    expect(Object.keys(alarms(template)).sort()).toEqual(names);
  });

  test('the alarms of the clean-up exist only with cleanUp', () => {
    expect(Object.keys(alarms(monitor().template)).sort()).toEqual(names.filter(name => !name.endsWith('CleanUps')));
  });

  test.each(names)('%s performs the actions, and its description says what happened', name => {
    const { AlarmActions, AlarmDescription, ActionsEnabled } = alarms(template)[name];
    expect(AlarmActions).toEqual([{ Ref: only(template, 'AWS::SNS::Topic').id }]);
    expect(AlarmDescription).toMatch(/^MLflow: \w.*\.$/);
    expect(ActionsEnabled).not.toBe(false);
  });

  test.each(names)('%s does not ring without data', name => {
    expect(rings(alarms(template)[name], () => undefined)).toBe(false);
  });

  test('without data, alarms on metrics that are measured rarely keep their state, and the others are OK', () => {
    const daily = ['ArtifactStorage', 'CertificateExpiry', 'DatabaseStorage'];
    expect(Object.entries(alarms(template)).map(([name, { TreatMissingData }]) => [name, TreatMissingData]).sort())
      .toEqual(names.map(name => [name, daily.includes(name) ? 'ignore' : 'notBreaching']));
  });

  test.each(names)('%s does not ring on an idle system with a paused database', name => {
    expect(rings(alarms(template)[name], idle)).toBe(false);
  });

  test.each(names)('%s rings at its threshold', name => {
    const alarm = alarms(template)[name];
    const { Threshold } = alarm;
    const at: Record<string, number> = {
      VolumeBytesUsed: Threshold * 2 ** 30,
      BucketSizeBytes: Threshold / 4 * 2 ** 30, // of each storage class
      DesiredTaskCount: 1,
      RunningTaskCount: 0,
      EphemeralStorageUtilized: Threshold / 100 * 21,
      EphemeralStorageReserved: 21,
    };
    expect(rings(alarm, metricName => at[metricName] ?? Threshold)).toBe(true);
  });

  test.each(names)('%s looks at metrics with a known name, period and dimensions', name => {
    const { MetricName, Namespace, Dimensions, Statistic, ExtendedStatistic, Period, Metrics, EvaluationPeriods, Threshold } = alarms(template)[name];
    const shown = (dimensions: any[] = []) => dimensions.map(dimension => dimension.Name === 'StorageType' ? dimension.Value : dimension.Name).join();
    const line = (metric: any, stat: string, period: number) => `${metric.Namespace}/${metric.MetricName}(${shown(metric.Dimensions)}) ${stat} ${period}`;
    const metrics = Metrics === undefined
      ? [line({ Namespace, MetricName, Dimensions }, Statistic ?? ExtendedStatistic, Period)]
      : Metrics.map(({ MetricStat, Expression }: any) => Expression ?? line(MetricStat.Metric, MetricStat.Stat, MetricStat.Period));
    expect([...metrics, `${Threshold}, ${EvaluationPeriods} in a row`]).toMatchSnapshot();
  });

  test('a wrong setting for missing data or the comparison would be noticed', () => {
    const { MissingTasks, Cpu } = alarms(template);
    expect(rings({ ...MissingTasks, TreatMissingData: 'breaching' }, () => undefined)).toBe(true);
    expect(rings({ ...Cpu, ComparisonOperator: 'LessThanOrEqualToThreshold' }, idle)).toBe(true);
  });

  test('lines are counted in the log group of the task, in a namespace of this deployment', () => {
    const logGroup = only(template, 'AWS::Logs::LogGroup', 'ServiceLogGroup').id;
    const filters = resources(template, 'AWS::Logs::MetricFilter').map(([, { Properties }]) => Properties);
    expect(filters.map(({ LogGroupName }) => LogGroupName)).toEqual(filters.map(() => ({ Ref: logGroup })));
    expect(Object.fromEntries(filters.map(({ FilterPattern, MetricTransformations: [{ MetricNamespace, MetricName, MetricValue, DefaultValue }] }) =>
      [`${MetricNamespace} ${MetricName}`, [FilterPattern, MetricValue, DefaultValue]]))).toEqual({
      'SecureMlflow/mlflow.example.com RefusedSignIns': ['?"[AuthFailure]" ?"Error retrieving session from token"', '1', undefined],
      'SecureMlflow/mlflow.example.com RefusedRequests': ['[program = "secure-mlflow", result = "refused", status = "403", ...]', '1', undefined],
      'SecureMlflow/mlflow.example.com TaskStarts': ['[program = "prepare", first = "machine", second = "identities", third = "written:", ...]', '1', undefined],
      'SecureMlflow/mlflow.example.com FailedPreparations': ['[program = "prepare", result = "FAILED:", ...]', '1', undefined],
      'SecureMlflow/mlflow.example.com FailedCleanUps': ['[program = "clean-up", result = "FAILED:", ...]', '1', undefined],
    });
  });

  test('the dashboard shows every alarm', () => {
    const body = JSON.stringify(only(template, 'AWS::CloudWatch::Dashboard').Properties.DashboardBody);
    expect(resources(template, 'AWS::CloudWatch::Alarm').filter(([id]) => !body.includes(`"${id}"`))).toEqual([]);
  });

  test('there are no other resources: no function, no custom resource', () => {
    const before = new Set(resources(Template.fromStack(define(everything).stack)).map(([id]) => id));
    const added = resources(template).filter(([id]) => !before.has(id)).map(([, { Type }]) => Type);
    expect([...new Set(added)].sort()).toEqual(['AWS::CloudWatch::Alarm', 'AWS::CloudWatch::Dashboard', 'AWS::Logs::MetricFilter', 'AWS::SNS::Topic']);
  });

  test('the dashboard has these graphs', () => {
    const body = only(template, 'AWS::CloudWatch::Dashboard').Properties.DashboardBody['Fn::Join'][1].map((part: unknown) => typeof part === 'string' ? part : 'x').join('');
    const { widgets } = JSON.parse(body);
    const drawn = widgets.filter(({ type, properties }: any) => type === 'metric' && properties.metrics).map(({ properties }: any) => [
      properties.title,
      ...properties.metrics.map((row: any[]) => row[0].expression ?? (row.at(-1).visible === false ? [] : [row[1], row.at(-1).stat ?? ''].join(' ').trim())).flat(),
    ]);
    expect(drawn).toEqual([
      ['Requests', 'RequestCount Sum'],
      ['Answers 5xx', 'HTTPCode_Target_5XX_Count Sum', 'HTTPCode_ELB_5XX_Count Sum'],
      ['Response time, seconds', 'TargetResponseTime p99', 'TargetResponseTime p50'],
      ['Refused sign-ins and requests', 'RefusedSignIns Sum', 'RefusedRequests Sum'],
      ['Tasks', 'RunningTaskCount', 'DesiredTaskCount', 'TaskStarts Sum'],
      ['CPU and memory of the tasks, percent', 'CPUUtilization', 'MemoryUtilization'],
      ['Disk of the tasks, percent', '100 * used / reserved'],
      ['Failures of prepare and clean-up', 'FailedPreparations Sum', 'FailedCleanUps Sum', 'TargetErrorCount Sum'],
      ['Capacity of the database, ACU', 'ServerlessDatabaseCapacity'],
      ['Connections to the database', 'DatabaseConnections'],
      ['Size of the database, GiB', 'bytes / 1073741824'],
      ['Size of the bucket, GiB', 'SUM([standard,frequent,infrequent,archived]) / 1073741824'],
    ]);
  });

  test('the newest lines are the lines that are counted', () => {
    const body = JSON.stringify(only(template, 'AWS::CloudWatch::Dashboard').Properties.DashboardBody).replaceAll('\\', '');
    const { FilterPattern } = only(template, 'AWS::Logs::MetricFilter', 'RefusedSignIns').Properties;
    const [refused, unknown, ...others] = FilterPattern.match(/"[^"]+"/g);
    expect(others).toEqual([]);
    expect(body).toContain([
      'fields @timestamp, @logStream, @message',
      `filter @message like ${refused} or @message like ${unknown} or @message like "secure-mlflow refused 403" or @message like "FAILED:"`,
      'sort @timestamp desc',
      'limit 50',
    ].join('n| ')); // line breaks, without the backslash
  });

  test('cdk-nag has no findings', () => {
    const found = new AwsSolutionsChecks().validateScope(stack).violations
      .flatMap(({ ruleName, violatingResources }) => violatingResources.map(({ constructPath }) => `${constructPath} ${ruleName}`));
    expect(found.filter(finding => finding.includes('/Monitoring/'))).toEqual([]);
  });
});

describe('what addMonitoring returns', () => {
  test('are the alarms by the names of their thresholds, and the dashboard', () => {
    const { stack, mlflow } = define(everything);
    const monitoring = mlflow.addMonitoring({ alarmActions: [new SnsAction(new sns.Topic(stack, 'Topic'))], thresholds: { cpu: { enabled: false } } });
    monitoring.alarms.latency.addAlarmAction(new SnsAction(new sns.Topic(stack, 'Elsewhere')));
    monitoring.dashboard.addWidgets(new TextWidget({ markdown: 'of mine' }));
    const template = Template.fromStack(stack);
    const [elsewhere, topic] = ['Elsewhere', 'Topic'].map(id => ({ Ref: only(template, 'AWS::SNS::Topic', id).id }));
    expect(alarms(template).Latency.AlarmActions).toEqual([topic, elsewhere]);
    expect(alarms(template).Memory.AlarmActions).toEqual([topic]);
    expect(JSON.stringify(only(template, 'AWS::CloudWatch::Dashboard'))).toContain('of mine');
    const nameOf = (alarm: Alarm) => stack.resolve((alarm.node.defaultChild as CfnAlarm).logicalId);
    expect(Object.entries(monitoring.alarms).map(([name, alarm]) => [name[0].toUpperCase() + name.slice(1), nameOf(alarm)]))
      .toEqual(Object.keys(alarms(template)).map(name => [name, expect.stringMatching(`Monitoring${name}[0-9A-F]{8}$`)]));
    expect(Object.keys(alarms(template)).sort()).toEqual(names.filter(name => name !== 'Cpu'));
  });
});

test('okActions happen when an alarm returns to OK; by default there are none', () => {
  const { stack, mlflow } = define(everything);
  const action = new SnsAction(new sns.Topic(stack, 'Topic'));
  mlflow.addMonitoring({ alarmActions: [action], okActions: [action] });
  const template = Template.fromStack(stack);
  const topic = { Ref: only(template, 'AWS::SNS::Topic').id };
  expect(Object.values(alarms(template)).map(({ OKActions }) => OKActions)).toEqual(names.map(() => [topic]));
  expect(Object.values(alarms(monitor().template)).filter(({ OKActions }) => OKActions)).toEqual([]);
});

describe('thresholds', () => {
  test('each can be changed, or its alarm left out', () => {
    const { template } = monitor({
      latency: { threshold: 5 },
      cpu: { evaluationPeriods: 12 },
      memory: { enabled: false },
      refusedSignIns: { threshold: 0, enabled: true },
    }, everything);
    const changed = alarms(template);
    expect(Object.keys(changed).sort()).toEqual(names.filter(name => name !== 'Memory'));
    expect([changed.Latency.Threshold, changed.Latency.EvaluationPeriods]).toEqual([5, 3]);
    expect([changed.Cpu.Threshold, changed.Cpu.EvaluationPeriods]).toEqual([90, 12]);
    expect(changed.RefusedSignIns.Threshold).toBe(0);
    expect(JSON.stringify(only(template, 'AWS::CloudWatch::Dashboard').Properties.DashboardBody)).not.toContain('MonitoringMemory');
  });

  test.each<[string, OverridesOf, number]>([
    ['one task', {}, 1],
    ['three tasks', { desiredCount: 3 }, 3],
    ['as many as scaling allows', { scaling: { maxCount: 5 } }, 5],
    ['no task', { desiredCount: 0 }, 1],
    ['a CDK token', { desiredCount: Lazy.number({ produce: () => 2 }) }, 1],
  ])('starts of tasks and connections to the database ring depending on %s', (_, overrides, tasks) => {
    const { TaskStarts, DatabaseConnections } = alarms(monitor(undefined, overrides).template);
    expect([TaskStarts.Threshold, DatabaseConnections.Threshold]).toEqual([4 * tasks, 100 * tasks]);
  });

  test('fails if alarms have no action, or an alarm could never ring', () => {
    expect(() => define().mlflow.addMonitoring({ alarmActions: [], thresholds: { cpu: { evaluationPeriods: 0 } } })).toThrow(
      'Stack/Mlflow: 2 props need a change\n'
      + '  - `thresholds.cpu.evaluationPeriods` must be a whole number, 1 or more, got 0\n'
      + '  - `alarmActions` must contain at least one action, got []: pass one, such as `new SnsAction(topic)`, because alarms without an action notify no one');
  });

  test('fails without leaving constructs behind, and can be called again', () => {
    const { stack, mlflow } = define();
    expect(() => mlflow.addMonitoring({ alarmActions: [] })).toThrow('`alarmActions` must contain at least one action');
    mlflow.addMonitoring({ alarmActions: [new SnsAction(new sns.Topic(stack, 'Topic'))] });
    expect(resources(Template.fromStack(stack), 'AWS::CloudWatch::Dashboard')).toHaveLength(1);
  });

  test('fails at a second call', () => {
    const { stack, mlflow } = monitor();
    expect(() => mlflow.addMonitoring({ alarmActions: [new SnsAction(new sns.Topic(stack, 'Other'))] })).toThrow(new Error(
      'Stack/Mlflow: addMonitoring must be called once, got a second call: pass all `alarmActions` and `thresholds` in one call'));
  });

  test('may be CDK tokens', () => {
    const number = (value: number) => Lazy.number({ produce: () => value });
    const { stack, template } = monitor({ cpu: { threshold: number(70), evaluationPeriods: number(2) } });
    expect(stack.resolve(alarms(template).Cpu)).toMatchObject({ Threshold: 70, EvaluationPeriods: 2 });
  });
});

describe('metrics', () => {
  const methods: [string, (mlflow: SecureMlflow, props?: MetricOptions) => any, string, string][] = [
    ['requestCount', (m, p) => m.metrics.requestCount(p), 'AWS/ApplicationELB', 'RequestCount'],
    ['refusedRequests', (m, p) => m.metrics.refusedRequests(p), 'SecureMlflow/mlflow.example.com', 'RefusedRequests'],
    ['targetResponseTime', (m, p) => m.metrics.targetResponseTime(p), 'AWS/ApplicationELB', 'TargetResponseTime'],
    ['httpCodeTarget', (m, p) => m.metrics.httpCodeTarget(HttpCodeTarget.TARGET_5XX_COUNT, p), 'AWS/ApplicationELB', 'HTTPCode_Target_5XX_Count'],
    ['httpCodeElb', (m, p) => m.metrics.httpCodeElb(HttpCodeElb.ELB_5XX_COUNT, p), 'AWS/ApplicationELB', 'HTTPCode_ELB_5XX_Count'],
    ['unhealthyHostCount', (m, p) => m.metrics.unhealthyHostCount(p), 'AWS/ApplicationELB', 'UnHealthyHostCount'],
    ['cpuUtilization', (m, p) => m.metrics.cpuUtilization(p), 'AWS/ECS', 'CPUUtilization'],
    ['memoryUtilization', (m, p) => m.metrics.memoryUtilization(p), 'AWS/ECS', 'MemoryUtilization'],
    ['runningTaskCount', (m, p) => m.metrics.runningTaskCount(p), 'ECS/ContainerInsights', 'RunningTaskCount'],
    ['desiredTaskCount', (m, p) => m.metrics.desiredTaskCount(p), 'ECS/ContainerInsights', 'DesiredTaskCount'],
    ['ephemeralStorageUtilized', (m, p) => m.metrics.ephemeralStorageUtilized(p), 'ECS/ContainerInsights', 'EphemeralStorageUtilized'],
    ['ephemeralStorageReserved', (m, p) => m.metrics.ephemeralStorageReserved(p), 'ECS/ContainerInsights', 'EphemeralStorageReserved'],
    ['serverlessDatabaseCapacity', (m, p) => m.metrics.serverlessDatabaseCapacity(p), 'AWS/RDS', 'ServerlessDatabaseCapacity'],
    ['acuUtilization', (m, p) => m.metrics.acuUtilization(p), 'AWS/RDS', 'ACUUtilization'],
    ['databaseConnections', (m, p) => m.metrics.databaseConnections(p), 'AWS/RDS', 'DatabaseConnections'],
    ['volumeBytesUsed', (m, p) => m.metrics.volumeBytesUsed(p), 'AWS/RDS', 'VolumeBytesUsed'],
    ['bucketSizeBytes', (m, p) => m.metrics.bucketSizeBytes(p), 'AWS/S3', 'BucketSizeBytes'],
    ['daysToExpiry', (m, p) => m.metrics.daysToExpiry(p), 'AWS/CertificateManager', 'DaysToExpiry'],
  ];

  test.each(methods)('%s', (_, metric, namespace, metricName) => {
    const { mlflow } = define();
    expect(metric(mlflow)).toMatchObject({ namespace, metricName });
    expect(metric(mlflow, { label: 'mine' })).toMatchObject({ metricName, label: 'mine' });
  });

  test('answers are those with the given code', () => {
    const { metrics } = define().mlflow;
    expect(metrics.httpCodeTarget(HttpCodeTarget.TARGET_3XX_COUNT).metricName).toBe('HTTPCode_Target_3XX_Count');
    expect(metrics.httpCodeElb(HttpCodeElb.ELB_4XX_COUNT).metricName).toBe('HTTPCode_ELB_4XX_Count');
  });

  test.each(methods)('%s is the metric of this deployment', (_, metric, namespace) => {
    const { stack, mlflow, template } = synthesise();
    const id = (type: string, part?: string) => only(template, type, part).id;
    const service = { 'Fn::GetAtt': [id('AWS::ECS::Service'), 'Name'] };
    const loadBalancer = expect.stringMatching(/MlflowIngressLoadBalancer[A-Z0-9]*(Https[A-Z0-9]+)?"/);
    const dimensions: Record<string, object> = {
      'AWS/ApplicationELB': { LoadBalancer: loadBalancer },
      'AWS/ECS': { ClusterName: { Ref: id('AWS::ECS::Cluster') }, ServiceName: service },
      'ECS/ContainerInsights': { ClusterName: { Ref: id('AWS::ECS::Cluster') }, ServiceName: service },
      'AWS/RDS': { DBClusterIdentifier: { Ref: id('AWS::RDS::DBCluster') } },
      'AWS/S3': { BucketName: { Ref: id('AWS::S3::Bucket') }, StorageType: 'StandardStorage' },
      'AWS/CertificateManager': { CertificateArn: { Ref: id('AWS::CertificateManager::Certificate') } },
    };
    const found = stack.resolve(metric(mlflow).dimensions);
    if (namespace === 'AWS/ApplicationELB') { // parts of an ARN
      found.LoadBalancer = JSON.stringify(found.LoadBalancer);
      delete found.TargetGroup;
    }
    expect(found).toEqual(dimensions[namespace]);
  });

  test('the filter that counts refused requests is created at the first use, and only once', () => {
    const filters = (calls: (mlflow: SecureMlflow, scope: Stack) => void) => {
      const { stack, mlflow } = define();
      calls(mlflow, stack);
      return resources(Template.fromStack(stack), 'AWS::Logs::MetricFilter').filter(([id]) => id.includes('RefusedRequests')).length;
    };
    const monitoring = (mlflow: SecureMlflow, scope: Stack) => mlflow.addMonitoring({ alarmActions: [new SnsAction(new sns.Topic(scope, 'Topic'))] });
    expect(filters(() => undefined)).toBe(0);
    expect(filters(mlflow => [mlflow.metrics.refusedRequests(), mlflow.metrics.refusedRequests({ period: Duration.hours(1) })])).toBe(1);
    expect(filters((mlflow, scope) => [monitoring(mlflow, scope), mlflow.metrics.refusedRequests()])).toBe(1);
    expect(filters((mlflow, scope) => [mlflow.metrics.refusedRequests(), monitoring(mlflow, scope)])).toBe(1);
    expect(define().mlflow.metrics.refusedRequests()).toMatchObject({ statistic: 'Sum', period: Duration.minutes(5) });
  });

  // The part `clean-up` of the checks tests the same with the log lines of the real programs.
  test.each([
    ['secure-mlflow refused 403 POST "/api/2.0/mlflow/runs/create" of "ada@example.com" (reader): it needs an editor', true],
    ['secure-mlflow refused 403 GET "/" of "-": no name', true],
    ['secure-mlflow refused 413 POST "/api/2.0/mlflow/runs/log-batch" of "ada@example.com": larger than 32 MiB', false],
    ['172.31.0.1 - ada@example.com [2026/11/27 10:00:00] mlflow.example.com GET - "/secure-mlflow refused 403" HTTP/1.1 "secure-mlflow refused 403" 200 1 0.1', false],
    ['INFO secure-mlflow refused 403', false],
  ])('refused requests: %s', (line, counted) => {
    const { mlflow, stack } = define();
    mlflow.metrics.refusedRequests();
    const { FilterPattern } = only(Template.fromStack(stack), 'AWS::Logs::MetricFilter').Properties;
    const values = [...FilterPattern.matchAll(/ = "([^"]+)"/g)].map(([, value]) => value);
    expect(values).toHaveLength(3);
    expect(values.every((value, index) => line.split(' ')[index] === value)).toBe(counted);
  });

  test('these are all', () => {
    const own = Object.getOwnPropertyNames(SecureMlflowMetrics.prototype).filter(name => !['constructor', 'containerInsights'].includes(name));
    expect(own.sort()).toEqual(methods.map(([name]) => name).sort());
  });
});

describe('accessLogsBucket', () => {
  const attributes = (resource: Resource) =>
    Object.fromEntries(resource.Properties.LoadBalancerAttributes.map(({ Key, Value }: any) => [Key, Value]));
  const bucket = (stack: Stack) => new s3.Bucket(stack, 'Logs', { encryption: s3.BucketEncryption.S3_MANAGED, enforceSSL: true });

  test('gets the access logs, and allows the load balancer to write them', () => {
    const { stack, template } = regional(scope => ({ accessLogsBucket: bucket(scope) }));
    const { id } = only(template, 'AWS::S3::Bucket', 'Logs');
    expect(attributes(only(template, 'AWS::ElasticLoadBalancingV2::LoadBalancer')))
      .toMatchObject({ 'access_logs.s3.enabled': 'true', 'access_logs.s3.bucket': { Ref: id } });
    const { Statement } = only(template, 'AWS::S3::BucketPolicy', 'Logs').Properties.PolicyDocument;
    const writers = Statement.filter(({ Action, Effect }: any) => Action === 's3:PutObject' && Effect === 'Allow');
    expect(writers.length).toBeGreaterThan(0);
    const rules = new AwsSolutionsChecks().validateScope(stack).violations.map(({ ruleName }) => ruleName);
    expect(rules).not.toContain('AwsSolutions-ELB2');
  });

  test('may be imported', () => {
    const { template } = regional(scope => ({ accessLogsBucket: s3.Bucket.fromBucketName(scope, 'Logs', 'brought') }));
    expect(attributes(only(template, 'AWS::ElasticLoadBalancingV2::LoadBalancer'))).toMatchObject({ 'access_logs.s3.bucket': 'brought' });
  });

  test('fails in a stack without a region', () => {
    expect(() => define(scope => ({ accessLogsBucket: bucket(scope) }), newStack())).toThrow(
      '`accessLogsBucket` needs a stack whose region is known at synthesis, got a CDK token: set `env: { region: … }`');
  });

  test('fails with a KMS key', () => {
    expect(() => regional(scope => ({ accessLogsBucket: new s3.Bucket(scope, 'Logs', { encryptionKey: new kms.Key(scope, 'Key') }) }))).toThrow(
      '`accessLogsBucket` must be encrypted with SSE-S3, got Stack/Logs with a KMS key: load balancers cannot write access logs to such a bucket; pass another bucket');
  });
});
