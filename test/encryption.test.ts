import { Stack } from 'aws-cdk-lib';
import { Annotations, Match, Template } from 'aws-cdk-lib/assertions';
import * as kms from 'aws-cdk-lib/aws-kms';
import * as s3 from 'aws-cdk-lib/aws-s3';
import { AwsSolutionsChecks } from 'cdk-nag';
import { define, newApp, only, OverridesOf, resources, statementsOf, synthesise } from './fixtures';
import { AuthProvider, SessionStore } from '../src';

const KEY_ARN = 'arn:aws:kms:eu-west-1:111122223333:key/1';
const imported = (stack: Stack) => kms.Key.fromKeyArn(stack, 'Key', KEY_ARN);
const withKey = (stack: Stack) => ({ encryptionKey: imported(stack) });

/** The key of every resource that supports one. */
function keys(template: Template): Record<string, unknown> {
  const keyOf = ({ Type, Properties }: { Type: string; Properties: any }) => Type === 'AWS::S3::Bucket'
    ? Properties.BucketEncryption.ServerSideEncryptionConfiguration[0].ServerSideEncryptionByDefault.KMSMasterKeyID
    : Properties.KmsKeyId;
  const types = ['AWS::S3::Bucket', 'AWS::RDS::DBCluster', 'AWS::SecretsManager::Secret', 'AWS::Logs::LogGroup', 'AWS::ElastiCache::ServerlessCache'];
  return Object.fromEntries(types.flatMap(type => resources(template, type)).map(([id, resource]) => [id, keyOf(resource)]));
}

const decryptingStatements = (template: Template, role: string) => statementsOf(template, role).filter(({ Action }) => JSON.stringify(Action).includes('kms:'));
const viaSecretsManager = { StringEquals: { 'kms:ViaService': { 'Fn::Join': ['', ['secretsmanager.', { Ref: 'AWS::Region' }, '.amazonaws.com']] } } };
const rightsOn = (key: unknown) => ({
  task: [{ Effect: 'Allow', Action: ['kms:Decrypt', 'kms:GenerateDataKey'], Resource: key }],
  start: [{ Effect: 'Allow', Action: 'kms:Decrypt', Resource: key, Condition: viaSecretsManager }],
});
const rights = (template: Template) => ({ task: decryptingStatements(template, 'TaskRole'), start: decryptingStatements(template, 'ExecutionRole') });

const forLogs = {
  Effect: 'Allow',
  Principal: { Service: { 'Fn::Join': ['', ['logs.', { Ref: 'AWS::Region' }, '.amazonaws.com']] } },
  Action: ['kms:Encrypt', 'kms:Decrypt', 'kms:ReEncrypt*', 'kms:GenerateDataKey*', 'kms:DescribeKey'],
  Resource: '*',
  Condition: {
    ArnLike: { 'kms:EncryptionContext:aws:logs:arn': { 'Fn::Join': ['', ['arn:', { Ref: 'AWS::Partition' }, ':logs:', { Ref: 'AWS::Region' }, ':', { Ref: 'AWS::AccountId' }, ':log-group:*']] } },
  },
};

/** The key policy without the statement that every policy begins with. */
const added = (template: Template) => only(template, 'AWS::KMS::Key').Properties.KeyPolicy.Statement.slice(1);
const warnings = (overrides: OverridesOf) => Annotations.fromStack(define(overrides).stack).findWarning('*', Match.anyValue()).map(({ entry }) => entry.data);

test('by default no part has a key and no role a permission for one', () => {
  const { template } = synthesise();
  expect(new Set(Object.values(keys(template)))).toEqual(new Set([undefined]));
  expect(rights(template)).toEqual({ task: [], start: [] });
  expect(only(template, 'AWS::RDS::DBCluster').Properties.StorageEncrypted).toBe(true);
  expect(resources(template).filter(([, resource]) => JSON.stringify(resource).includes('kms:'))).toEqual([]);
});

describe('encryptionKey', () => {
  test('is the key of bucket, database, every secret and both log groups', () => {
    const { template } = synthesise(withKey);
    expect(Object.keys(keys(template))).toEqual(Object.keys(keys(synthesise().template)));
    expect(new Set(Object.values(keys(template)))).toEqual(new Set([KEY_ARN]));
    expect(only(template, 'AWS::RDS::DBCluster').Properties.StorageEncrypted).toBe(true);
    expect(only(template, 'AWS::S3::Bucket').Properties.BucketEncryption.ServerSideEncryptionConfiguration)
      .toEqual([{ BucketKeyEnabled: true, ServerSideEncryptionByDefault: { SSEAlgorithm: 'aws:kms', KMSMasterKeyID: KEY_ARN } }]);
  });

  test('is the key of the secret that Cognito\'s provider creates for the sign-in, not of the secrets for other readers', () => {
    const { template } = synthesise(stack => ({ ...withKey(stack), authProvider: AuthProvider.cognito({ machineClients: ['training'] }) }));
    expect(only(template, 'AWS::SecretsManager::Secret', 'ClientSecret').Properties.KmsKeyId).toBe(KEY_ARN);
    expect(only(template, 'AWS::SecretsManager::Secret', 'Machines').Properties).not.toHaveProperty('KmsKeyId');
  });

  test('is the key of the session store, and of its password', () => {
    const { template } = synthesise(stack => ({ ...withKey(stack), sessionStore: SessionStore.valkey() }));
    expect(Object.values(keys(template))).toEqual(Array(9).fill(KEY_ARN));
    expect(rights(template)).toEqual(rightsOn(KEY_ARN)); // ElastiCache creates a grant for itself with the cache
  });

  test('imported: the roles get exactly what they need, and synthesis warns of the missing statement', () => {
    expect(rights(synthesise(withKey).template)).toEqual(rightsOn(KEY_ARN));
    expect(warnings(withKey)).toEqual([expect.stringMatching(/^`encryptionKey` is imported.* add the statement in docs\/encryption\.md to the key policy \[ack: cdk-secure-mlflow:keyPolicyUnchanged\]$/)]);
  });

  test('of the same stack: its policy gets only the statement for log groups', () => {
    const own = (stack: Stack) => ({ encryptionKey: new kms.Key(stack, 'Key') });
    const { template } = synthesise(own);
    const arn = { 'Fn::GetAtt': [only(template, 'AWS::KMS::Key').id, 'Arn'] };
    expect(Object.values(keys(template))).toEqual(Array(7).fill(arn));
    expect(added(template)).toEqual([forLogs]);
    expect(rights(template)).toEqual(rightsOn(arn));
    expect(warnings(own)).toEqual([]);
  });

  test('of another stack: that stack does not depend on this one', () => {
    const app = newApp();
    const keyStack = new Stack(app, 'KeyStack');
    const { template } = synthesise({ encryptionKey: new kms.Key(keyStack, 'Key') }, new Stack(app, 'Stack'));
    const arn = { 'Fn::ImportValue': expect.stringMatching(/^KeyStack:/) };
    expect(Object.values(keys(template))).toEqual(Array(7).fill(arn));
    expect(added(Template.fromStack(keyStack))).toEqual([forLogs]);
    expect(rights(template)).toEqual(rightsOn(arn));
  });

  test('does not replace the key of an existing bucket', () => {
    const { template } = synthesise(stack => ({ ...withKey(stack), artifactBucket: s3.Bucket.fromBucketArn(stack, 'Bucket', 'arn:aws:s3:::brought') }));
    expect(rights(template)).toEqual({ ...rightsOn(KEY_ARN), task: [] });
  });

  test('does not change the findings of cdk-nag', () => {
    const found = (overrides: OverridesOf) => new AwsSolutionsChecks().validateScope(define(overrides).stack).violations
      .flatMap(({ ruleName, violatingResources }) => violatingResources.map(({ constructPath }) => `${constructPath}: ${ruleName}`));
    expect(found(withKey)).toEqual(found({}));
  });

  test('fails for an alias', () => {
    expect(() => define(stack => ({ encryptionKey: kms.Alias.fromAliasName(stack, 'Key', 'alias/mlflow') }))).toThrow(
      '`encryptionKey` must be a key, got an alias, which policies and log groups cannot refer to: pass the key itself, such as `kms.Key.fromKeyArn(…)` or `kms.Key.fromLookup(…)`');
  });
});
