import { Duration } from 'aws-cdk-lib';
import { AwsSolutionsChecks } from 'cdk-nag';
import { container, containers, define, environmentOf, only, OverridesOf, secretsOf, statementsOf, synthesise } from './fixtures';
import { DatabaseAuthentication } from '../src';

const iam: OverridesOf = { databaseAuthentication: DatabaseAuthentication.IAM };
const userOf = (uri: { 'Fn::Join': [string, string[]] }) => uri['Fn::Join'][1][0];
const names = (of: ReturnType<typeof synthesise>['template']) => containers(of).map(({ Name }) => Name);

test.each<[string, OverridesOf]>([['by default', {}], ['PASSWORD', { databaseAuthentication: DatabaseAuthentication.PASSWORD }]])('%s: the server has the password and no RDS authentication token', (_, overrides) => {
  const { template } = synthesise(overrides);
  expect(names(template)).toEqual(['prepare', 'mlflow', 'oauth2-proxy']);
  expect(Object.keys(secretsOf(template, 'mlflow'))).toContain('PGPASSWORD');
  expect(environmentOf(template, 'mlflow')).not.toHaveProperty('PGPASSFILE');
  expect(environmentOf(template, 'prepare')).not.toHaveProperty('PREPARE_IAM_USER');
  expect(JSON.stringify(statementsOf(template, 'TaskRole'))).not.toContain('rds-db');
});

describe('IAM', () => {
  const { template } = synthesise(iam);
  const sideContainer = container(template, 'database-token');

  test('the server has no password, and its RDS authentication token is in a file of its user', () => {
    expect(Object.keys(secretsOf(template, 'mlflow'))).toEqual(['MLFLOW_CRYPTO_KEK_PASSPHRASE']);
    const { PGPASSFILE, PGSSLMODE, MLFLOW_BACKEND_STORE_URI, ...rest } = environmentOf(template, 'mlflow');
    expect([PGPASSFILE, PGSSLMODE, userOf(MLFLOW_BACKEND_STORE_URI)]).toEqual(['/tmp/database-token', 'verify-full', 'postgresql+psycopg2://mlflow_iam@']);
    const { MLFLOW_BACKEND_STORE_URI: uri, ...before } = environmentOf(synthesise().template, 'mlflow');
    expect({ ...rest, PGSSLMODE }).toEqual(before);
    expect(userOf(uri)).toBe('postgresql+psycopg2://mlflow@');
  });

  test('the side container writes it as that user, has no secret and has no more rights than the server', () => {
    const server = container(template, 'mlflow');
    for (const property of ['Image', 'User', 'ReadonlyRootFilesystem', 'LinuxParameters', 'MountPoints', 'LogConfiguration', 'Essential', 'StopTimeout']) {
      expect([property, sideContainer[property]]).toEqual([property, server[property]]);
    }
    expect(sideContainer).toMatchObject({ User: '10001:10001', ReadonlyRootFilesystem: true, Essential: true });
    expect(sideContainer).not.toHaveProperty('Secrets');
    expect(sideContainer).not.toHaveProperty('PortMappings');
    expect(sideContainer.Command).toEqual(['python', '/run/secure-mlflow/python/database_token.py']);
    const { MLFLOW_BACKEND_STORE_URI, PGPASSFILE, DATABASE_TOKEN_SECONDS, AWS_REGION } = environmentOf(template, 'database-token');
    const ofServer = environmentOf(template, 'mlflow');
    expect([MLFLOW_BACKEND_STORE_URI, PGPASSFILE, AWS_REGION]).toEqual([ofServer.MLFLOW_BACKEND_STORE_URI, ofServer.PGPASSFILE, { Ref: 'AWS::Region' }]);
    expect(DATABASE_TOKEN_SECONDS).toBe('600');
  });

  test('it starts after prepare, the server starts after the first token, and an expired token stops the task in time', () => {
    expect(sideContainer.DependsOn).toEqual([{ ContainerName: 'prepare', Condition: 'SUCCESS' }]);
    expect(container(template, 'mlflow').DependsOn).toEqual([{ ContainerName: 'prepare', Condition: 'SUCCESS' }, { ContainerName: 'database-token', Condition: 'HEALTHY' }]);
    const { Command: [kind, program, , code], Interval, Retries } = sideContainer.HealthCheck;
    expect([kind, program, Interval, Retries]).toEqual(['CMD', 'python', 5, 3]);
    const [oldest] = /(?<=> )\d+/.exec(code)!;
    expect(Number(oldest)).toBeGreaterThan(600); // the next one may take its time
    expect(Number(oldest) + 5 * 3).toBeLessThan(900); // when RDS no longer accepts the token
  });

  test('prepare has the password of the master user and creates the other user', () => {
    expect(Object.keys(secretsOf(template, 'prepare'))).toEqual(['PGPASSWORD']);
    const { PREPARE_IAM_USER, MLFLOW_BACKEND_STORE_URI } = environmentOf(template, 'prepare');
    expect([PREPARE_IAM_USER, userOf(MLFLOW_BACKEND_STORE_URI)]).toEqual(['mlflow_iam', 'postgresql+psycopg2://mlflow@']);
    expect(environmentOf(template, 'prepare')).not.toHaveProperty('PGPASSFILE');
  });

  test('the task role may connect as this user to this cluster, and gets no other permission', () => {
    const cluster = only(template, 'AWS::RDS::DBCluster');
    expect(cluster.Properties.EnableIAMDatabaseAuthentication).toBe(true);
    const [connect, ...rest] = statementsOf(template, 'TaskRole');
    const place = ['arn:', { Ref: 'AWS::Partition' }, ':rds-db:', { Ref: 'AWS::Region' }, ':', { Ref: 'AWS::AccountId' }, ':dbuser:'];
    expect(connect).toEqual({
      Effect: 'Allow',
      Action: 'rds-db:connect',
      Resource: { 'Fn::Join': ['', [...place, { 'Fn::GetAtt': [cluster.id, 'DBClusterResourceId'] }, '/mlflow_iam']] },
    });
    expect(rest).toEqual(statementsOf(synthesise().template, 'TaskRole'));
  });

  test('no command line goes through a shell', () => {
    expect(containers(template).map(({ Command }) => Command?.[0])).toEqual(['python', 'mlflow', 'python', undefined]);
  });

  test('the clean-up task, which runs for minutes, keeps the password that it reads at its start', () => {
    const { stack } = define({ ...iam, cleanUp: { olderThan: Duration.days(30) } });
    const tasks = JSON.stringify(stack.resolve((stack.node.findChild('Mlflow').node.findChild('CleanUp').node.findChild('TaskDefinition').node.defaultChild as any)._toCloudFormation()));
    expect(tasks).toContain('"PGPASSWORD"');
    expect(tasks).not.toContain('mlflow_iam');
  });

  test('does not change the findings of cdk-nag', () => {
    const found = (overrides: OverridesOf) => new AwsSolutionsChecks().validateScope(define(overrides).stack).violations
      .flatMap(({ ruleName, violatingResources }) => violatingResources.map(({ constructPath }) => `${constructPath}: ${ruleName}`));
    expect(found(iam)).toEqual(found({}));
  });
});
