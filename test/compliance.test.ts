import { existsSync, readFileSync } from 'fs';
import { join } from 'path';
import * as cdk from 'aws-cdk-lib';
import { CfnResource, Stack, Validations } from 'aws-cdk-lib';
import { CfnBucket } from 'aws-cdk-lib/aws-s3';
import { AwsSolutionsChecks } from 'cdk-nag';
import { define, newApp, Overrides } from './fixtures';
import { SessionStore } from '../src';

interface Report {
  readonly pluginReports: { pluginName: string; violations: { ruleName: string; violatingConstructs: { constructPath: string }[] }[] }[];
}

/** Findings of cdk-nag on the defaults, with the reason why they stay. docs/security.md lists the same in "What scanners say". */
type Finding = [path: string, rule: string, reason: string];
const known: Finding[] = [
  ['Ingress/SecurityGroup', 'AwsSolutions-EC23', 'open to the world on 443 and, for the redirect, 80; allowedSources narrows the one and closes the other'],
  ['Ingress/LoadBalancer', 'AwsSolutions-ELB2', 'access logs need a bucket and a stack with a fixed region'],
  ['Database/Credentials', 'AwsSolutions-SMG4', 'ECS reads secrets when a task starts: a rotated password would lock running tasks out'],
  ['Artifacts/Bucket', 'AwsSolutions-S1', 'an access log needs a second bucket; bring a bucket that has one'],
  ['Service/TaskDefinition/TaskRole/DefaultPolicy', 'AwsSolutions-IAM5[Resource::<MlflowArtifactsBucketAC924F49.Arn>/mlflow/*]', 'MLflow chooses the names of objects; the wildcard ends at its folder'],
  ['Service/TaskDefinition', 'AwsSolutions-ECS2', 'plain variables hold settings; secrets come from Secrets Manager'],
  ['Service/EncryptionPassphrase', 'AwsSolutions-SMG4', 'it must never change: what it encrypts would be lost'],
  ['Service/CookieSecret', 'AwsSolutions-SMG4', 'ECS reads secrets when a task starts: a rotation would change nothing'],
];

/** Additional findings of what is off by default. */
const sessionsOnTheServer: Overrides = { sessionStore: SessionStore.valkey() };
const knownOfSessions: Finding[] = [...known, ['Sessions/Password', 'AwsSolutions-SMG4', 'ECS reads secrets when a task starts: a rotated password would lock running tasks out']];
const variants: [name: string, overrides: Overrides, expected: Finding[]][] = [
  ['the defaults', {}, known],
  ['sessions on the server', sessionsOnTheServer, knownOfSessions],
];

function resourceAt(stack: Stack, path: string): CfnResource {
  return path.split('/').reduce((scope, id) => scope.node.findChild(id) as never, stack.node.findChild('Mlflow')).node.defaultChild as CfnResource;
}

test.each(variants)('in %s cdk-nag has the known findings and no others', (_, overrides, expected) => {
  const { stack } = define(overrides);
  const found = new AwsSolutionsChecks().validateScope(stack).violations
    .flatMap(({ ruleName, violatingResources }) => violatingResources.map(({ constructPath }) => `${constructPath}: ${ruleName}`));
  expect(found.sort()).toEqual(expected.map(([path, rule]) => `${resourceAt(stack, path).node.path}: ${rule}`).sort());
});

test.each(variants)('in %s cdk-nag has no findings once these are acknowledged', (_, overrides, expected) => {
  const { stack } = define(overrides);
  // With the bare id: this call, which every release of aws-cdk-lib has, does not support the prefix of the pack.
  expected.forEach(([path, id, reason]) => Validations.of(resourceAt(stack, path)).acknowledge({ id, reason }));
  expect(new AwsSolutionsChecks().validateScope(stack).violations).toEqual([]);
});

test('docs/security.md names every finding of cdk-nag, and no other', () => {
  const page = readFileSync(join(__dirname, '..', 'docs', 'security.md'), 'utf8');
  const named = new Set(page.match(/AwsSolutions-[A-Z]+\d+/g));
  expect([...named].sort()).toEqual([...new Set(known.map(([, rule]) => rule.replace(/\[.*/, '')))].sort());
});

// The lowest supported aws-cdk-lib has no built-in validator and does not pass the constructs to plug-ins; later releases do both.
const later = 'CloudFormationValidatePlugin' in cdk;

(later ? describe : describe.skip)('at synthesis', () => {
  let report: Report;
  let paths: (plugin: string) => string[];

  beforeAll(() => {
    delete process.env.CDK_VALIDATION;
    const app = newApp();
    const { stack } = define(sessionsOnTheServer, new Stack(app, 'Stack'));
    knownOfSessions.forEach(([path, rule, reason]) => Validations.of(resourceAt(stack, path)).acknowledge({ id: `AwsSolutions::${rule}`, reason }));
    // Wrong for both, so that a validator that did not run is noticed.
    new CfnBucket(new Stack(app, 'Broken'), 'Bucket').addPropertyOverride('Nonsense', 'x');
    Validations.of(app).addPlugins(new AwsSolutionsChecks(app));
    jest.spyOn(console, 'error').mockImplementation(); // it prints the report
    try {
      app.synth();
    } catch {
      // The broken stack: its findings are in the report.
    }
    const file = join(app.outdir, 'validation-report.json');
    report = JSON.parse(existsSync(file) ? readFileSync(file, 'utf8') : '{"pluginReports":[]}');
    paths = plugin => report.pluginReports.filter(({ pluginName }) => pluginName === plugin)
      .flatMap(({ violations }) => violations.flatMap(({ violatingConstructs }) => violatingConstructs.map(({ constructPath }) => constructPath)));
  });

  test.each(['CloudFormation Validate', 'AwsSolutions'])('%s has no findings in the defaults with sessions on the server, and has findings in the broken stack', plugin => {
    expect(new Set(paths(plugin))).toEqual(new Set(['Broken/Bucket']));
  });

  test('no other validator has findings', () => {
    expect(report.pluginReports.map(({ pluginName }) => pluginName).sort()).toEqual(['AwsSolutions', 'CloudFormation Validate']);
  });
});
