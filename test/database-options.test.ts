import { CfnParameter, Duration, Lazy, Stack, Token } from 'aws-cdk-lib';
import { Template } from 'aws-cdk-lib/assertions';
import * as kms from 'aws-cdk-lib/aws-kms';
import * as rds from 'aws-cdk-lib/aws-rds';
import { define, newApp, newStack, only, Overrides, OverridesOf, resources, synthesise } from './fixtures';
import { DatabaseOptions } from '../src';

const cluster = (databaseOptions: DatabaseOptions, overrides: Overrides = {}) => only(synthesise({ databaseOptions, ...overrides }).template, 'AWS::RDS::DBCluster').Properties;
const parametersOf = (template: Template) => only(template, 'AWS::RDS::DBClusterParameterGroup').Properties.Parameters;
const refused = (problem: string) => new Error(`Stack/Mlflow: a prop needs a change\n  - ${problem}`);

test('without any, or with an empty object, the template is the same', () => {
  expect(synthesise({ databaseOptions: {} }).template.toJSON()).toEqual(synthesise().template.toJSON());
});

describe('engineVersion', () => {
  const version = (full: string, major = full.split('.')[0]) => ({ engineVersion: rds.AuroraPostgresEngineVersion.of(full, major) });

  test.each(['17.7', '17.9', '17.10', '17.7.2'])('may be %s', full => {
    expect(cluster(version(full)).EngineVersion).toBe(full);
  });

  test('fails where the parameter group would be of another version', () => {
    expect(() => define({ databaseOptions: { engineVersion: rds.AuroraPostgresEngineVersion.of('17.9', '16') } })).toThrow(refused(
      '`databaseOptions.engineVersion` must have the major version 17, got "17.9" with "16": its parameter group would have another version; use `AuroraPostgresEngineVersion.of(\'17.9\', \'17\')`'));
  });

  test.each(['17.6', '17.1', '16.11', '18.1', '17', '17.7-limitless', '170.7'])('fails for %s', full => {
    expect(() => define({ databaseOptions: version(full) })).toThrow(refused(
      `\`databaseOptions.engineVersion\` must be 17.7 or newer of major version 17, got "${full}": other versions are not tested, and RDS does not go back to an older one; leave it out, or use a newer one`));
  });

  test('may be a CDK token', () => {
    const stack = newStack();
    const full = new CfnParameter(stack, 'Version').valueAsString;
    expect(only(synthesise({ databaseOptions: version(full, '17') }, stack).template, 'AWS::RDS::DBCluster').Properties.EngineVersion).toEqual({ Ref: 'Version' });
  });
});

describe('parameters', () => {
  const own = { 'rds.force_ssl': '1', 'idle_session_timeout': '60000' };

  test('are in the same group as those of the construct', () => {
    const { template } = synthesise({ databaseOptions: { parameters: { 'log_min_duration_statement': '1000', 'pg_stat_statements.track': 'all' } } });
    expect(parametersOf(template)).toEqual({ ...own, 'log_min_duration_statement': '1000', 'pg_stat_statements.track': 'all' });
    expect(only(template, 'AWS::RDS::DBClusterParameterGroup').id).toBe(only(synthesise().template, 'AWS::RDS::DBClusterParameterGroup').id);
  });

  test.each(Object.entries(own))('%s is refused, which the construct sets to %s', (name, value) => {
    expect(() => define({ databaseOptions: { parameters: { [name]: '0' } } })).toThrow(refused(
      `\`databaseOptions.parameters\` must not contain ${name}, which the construct sets to ${value}: leave it out`));
  });

  test.each(['RDS.FORCE_SSL', 'Idle_Session_Timeout', ' rds.force_ssl', '', Lazy.string({ produce: () => 'rds.force_ssl' })])('the name %j is refused, which could mean a reserved one', name => {
    expect(() => define({ databaseOptions: { parameters: { [name]: '0' } } })).toThrow(refused(
      `\`databaseOptions.parameters\`: each name must be the name of a parameter in lower case such as "log_min_duration_statement", got ${JSON.stringify(name)}: see \`aws rds describe-engine-default-cluster-parameters\``));
  });

  test('are refused as a CDK token', () => {
    const parameters = Token.asAny({ resolve: () => ({ 'rds.force_ssl': '0' }) }) as unknown as Record<string, string>;
    expect(() => define({ databaseOptions: { parameters } })).toThrow(refused(
      '`databaseOptions.parameters` must be known at synthesis, got a CDK token: it could contain names that the construct sets; write them out'));
  });

  const replicating = { parameters: { 'rds.logical_replication': '1' } };

  test('a database that pauses must not have replication, which would prevent the pause', () => {
    expect(() => define({ databaseOptions: replicating })).toThrow(refused(
      '`databaseOptions.parameters` must not turn on rds.logical_replication where `databaseCapacity.minAcus` is 0, got "1": a database with replication never pauses; raise `minAcus`, or leave the parameter out'));
  });

  test.each<[string, Overrides]>([
    ['without a pause it is allowed', { databaseOptions: replicating, databaseCapacity: { minAcus: 0.5 } }],
    ['with replication off is allowed', { databaseOptions: { parameters: { 'rds.logical_replication': '0' } } }],
    ['a CDK token is not checked', { databaseOptions: { parameters: { 'rds.logical_replication': Lazy.string({ produce: () => '1' }) } } }],
  ])('%s', (_, overrides) => {
    expect(parametersOf(synthesise(overrides).template)).toMatchObject(own);
  });
});

describe('backupRetention', () => {
  test.each([[Duration.days(1), 1], [Duration.hours(48), 2], [Duration.days(35), 35]])('may be %s', (backupRetention, expected) => {
    expect(cluster({ backupRetention }).BackupRetentionPeriod).toBe(expected);
  });

  test.each([[Duration.days(0), '0 days'], [Duration.hours(36), '1 day 12 hours'], [Duration.days(36), '36 days'], [Duration.millis(0.5), '0.5 millis']])('fails for %s', (backupRetention, shown) => {
    expect(() => define({ databaseOptions: { backupRetention } })).toThrow(refused(
      `\`databaseOptions.backupRetention\` must be whole days, 1 to 35, got ${shown}: for a longer time use AWS Backup or manual snapshots`));
  });

  test('may be a CDK token', () => {
    const stack = newStack();
    const backupRetention = Duration.days(new CfnParameter(stack, 'Days', { type: 'Number' }).valueAsNumber);
    const { template } = synthesise({ databaseOptions: { backupRetention } }, stack);
    expect(only(template, 'AWS::RDS::DBCluster').Properties.BackupRetentionPeriod).toEqual({ Ref: 'Days' });
  });
});

describe('databaseInsightsMode', () => {
  const insights = (properties: Record<string, unknown>) => ['PerformanceInsightsEnabled', 'DatabaseInsightsMode', 'PerformanceInsightsRetentionPeriod', 'PerformanceInsightsKmsKeyId']
    .map(name => properties[name]);
  const { STANDARD, ADVANCED } = rds.DatabaseInsightsMode;

  test.each<[string, DatabaseOptions, unknown[]]>([
    ['is off', {}, [undefined, undefined, undefined, undefined]],
    ['STANDARD is free', { databaseInsightsMode: STANDARD }, [true, 'standard', 7, undefined]],
    ['ADVANCED keeps its data for 15 months', { databaseInsightsMode: ADVANCED }, [true, 'advanced', 465, undefined]],
  ])('%s', (_, options, expected) => {
    expect(insights(cluster(options))).toEqual(expected);
  });

  test('its data are encrypted with the key of the user, if there is one', () => {
    const key = (stack: Stack) => kms.Key.fromKeyArn(stack, 'Key', 'arn:aws:kms:eu-west-1:111122223333:key/1');
    const { template } = synthesise(stack => ({ databaseOptions: { databaseInsightsMode: STANDARD }, encryptionKey: key(stack) }));
    expect(insights(only(template, 'AWS::RDS::DBCluster').Properties)[3]).toBe('arn:aws:kms:eu-west-1:111122223333:key/1');
  });
});

describe('snapshotIdentifier', () => {
  const arn = 'arn:aws:rds:eu-west-1:111122223333:cluster-snapshot:before';
  const from = (snapshotIdentifier: string): OverridesOf => ({ databaseOptions: { snapshotIdentifier } });
  const regional = (snapshotIdentifier: string) =>
    synthesise(from(snapshotIdentifier), new Stack(newApp(), 'Stack', { env: { region: 'eu-west-1', account: '111122223333' } })).template;

  test('is the snapshot that the cluster is restored from; no other property changes', () => {
    const before = synthesise().template;
    const { template } = synthesise(from('before'));
    const { id, Properties: { SnapshotIdentifier, ...restored } } = only(template, 'AWS::RDS::DBCluster');
    const { id: idBefore, Properties: { MasterUsername, ...made } } = only(before, 'AWS::RDS::DBCluster');
    expect([SnapshotIdentifier, id, restored]).toEqual(['before', idBefore, made]);
    // CloudFormation sets the password after the restore, so the secret stays valid. The user name comes from the snapshot and cannot be set.
    expect([JSON.stringify(restored.MasterUserPassword), JSON.stringify(MasterUsername)]).toEqual([expect.stringContaining(':password::'), expect.stringContaining(':username::')]);
    const others = (of: Template) => resources(of).filter(([name]) => name !== id);
    expect(others(template)).toEqual(others(before));
  });

  test.each(['before', 'rds:mlflow-2026-11-24-08-00', 'awsbackup:job-1a2b', arn, 'arn:aws:rds:eu-west-1:111122223333:snapshot:instance', 'arn:aws:rds:eu-west-1:111122223333:cluster-snapshot:rds:auto'])('may be %s', name => {
    expect(only(regional(name), 'AWS::RDS::DBCluster').Properties.SnapshotIdentifier).toBe(name);
  });

  test('may be a CDK token', () => {
    const stack = newStack();
    expect(only(synthesise(from(new CfnParameter(stack, 'Snapshot').valueAsString), stack).template, 'AWS::RDS::DBCluster').Properties.SnapshotIdentifier).toEqual({ Ref: 'Snapshot' });
  });

  test.each(['', 'a b', '1a', 'arn:aws:rds:eu-west-1:111122223333:cluster:mlflow', 'arn:aws:s3:::bucket'])('fails for %j', name => {
    expect(() => regional(name)).toThrow(refused(
      `\`databaseOptions.snapshotIdentifier\` must be the name or the ARN of a snapshot, got ${JSON.stringify(name)}: \`aws rds describe-db-cluster-snapshots\` lists them`));
  });

  test('fails for a snapshot of another region, if the region of the stack is known', () => {
    const other = arn.replace('eu-west-1', 'us-east-1');
    expect(() => regional(other)).toThrow(refused(
      `\`databaseOptions.snapshotIdentifier\` must be in the region of the stack, eu-west-1, got "${other}": copy it with \`aws rds copy-db-cluster-snapshot\``));
    expect(() => define(from(other))).not.toThrow();
  });
});
