import { readFileSync } from 'fs';
import { join } from 'path';
import { Stack } from 'aws-cdk-lib';
import { Match, Template } from 'aws-cdk-lib/assertions';
import * as ts from 'typescript';
import { container, containers, define, newApp, only, resources, rulesOf, statementsOf } from './fixtures';

/** The code of docs/escape-hatches.md by the headings above it. */
function codeOf(page: string): Map<string, string[]> {
  const sections = new Map<string, string[]>();
  for (const section of page.split(/^## /m).slice(1)) {
    const blocks = [...section.matchAll(/^```ts\n(.*?)^```$/gms)].map(([, code]) => code);
    if (blocks.length > 0) {
      sections.set(section.split('\n')[0], blocks);
    }
  }
  return sections;
}

const sections = codeOf(readFileSync(join(__dirname, '..', 'docs', 'escape-hatches.md'), 'utf8'));
const fixture = readFileSync(join(__dirname, '..', 'rosetta', 'default.ts-fixture'), 'utf8');

/** The resources that blocks of code create, in the fixture of the pages, with a server. */
function run(blocks: string[]): Template {
  const inside = ['const { mlflow } = define({}, this);', ...blocks.map(block => `{\n${block}}`)].join('\n');
  const source = `${fixture.replace('/// here', () => inside)}\nexport { Fixture };`;
  const { outputText } = ts.transpileModule(source, { compilerOptions: { module: ts.ModuleKind.CommonJS, target: ts.ScriptTarget.ES2022 } });
  const exported: { Fixture?: typeof Stack } = {};
  new Function('require', 'exports', 'define', outputText)((name: string) => jest.requireActual(name === 'cdk-secure-mlflow' ? '../src' : name), exported, define);
  return Template.fromStack(new exported.Fixture!(newApp(), 'Stack'));
}

const done: Record<string, (template: Template) => void> = {
  'Parts': template => {
    const [loadBalancer, tasks] = ['IngressSecurityGroup', 'Service'].map(part => only(template, 'AWS::EC2::SecurityGroup', part).id);
    expect(rulesOf(template, loadBalancer, 'Ingress')).toContainEqual(expect.objectContaining({ CidrIp: '203.0.113.0/24', FromPort: 443 }));
    expect(rulesOf(template, tasks, 'Egress')).toContainEqual(expect.objectContaining({ CidrIp: '10.1.0.0/16', FromPort: 8000, ToPort: 8000 }));
  },
  'Tags': template => {
    for (const type of ['AWS::ECS::Service', 'AWS::RDS::DBCluster', 'AWS::S3::Bucket', 'AWS::ElasticLoadBalancingV2::LoadBalancer', 'AWS::EC2::VPC']) {
      template.hasResourceProperties(type, { Tags: Match.arrayWith([{ Key: 'team', Value: 'ml' }]) });
    }
    template.hasResourceProperties('AWS::ECS::Service', { PropagateTags: 'SERVICE' });
  },
  'Single properties': template => {
    template.hasResourceProperties('AWS::RDS::DBCluster', { PreferredMaintenanceWindow: 'sun:02:00-sun:02:30', PreferredBackupWindow: '01:00-01:30' });
  },
  'Mixins': template => {
    const secrets = resources(template, 'AWS::SecretsManager::Secret').map(([id, { Properties }]) => [id, Properties.ReplicaRegions]);
    expect(secrets).toEqual(['Credentials', 'EncryptionPassphrase', 'CookieSecret'].map(part => [expect.stringContaining(part), [{ Region: 'eu-west-1' }]]));
  },
  'Sidecars': template => {
    expect(containers(template).map(({ Name }) => Name)).toEqual(['prepare', 'mlflow', 'oauth2-proxy', 'agent']);
    expect(container(template, 'agent')).toMatchObject({ Essential: false, Memory: 256, ReadonlyRootFilesystem: true });
    expect(container(template, 'agent')).not.toHaveProperty('Secrets');
  },
  'Logs to another place': template => {
    only(template, 'AWS::Kinesis::Stream');
    expect(only(template, 'AWS::Logs::SubscriptionFilter').Properties).toMatchObject({ FilterPattern: '', LogGroupName: { Ref: only(template, 'AWS::Logs::LogGroup', 'ServiceLogGroup').id } });
    expect(container(template, 'log-router').FirelensConfiguration).toEqual({ Type: 'fluentbit' });
    expect(Object.fromEntries(containers(template).map(({ Name, LogConfiguration: { LogDriver } }) => [Name, LogDriver])))
      .toEqual({ 'prepare': 'awslogs', 'mlflow': 'awslogs', 'oauth2-proxy': 'awsfirelens', 'log-router': 'awslogs' });
    expect(container(template, 'oauth2-proxy').LogConfiguration.Options).toEqual({ Name: 'http', Host: 'logs.example.com', Port: '443', tls: 'On' });
  },
  'Service Connect': template => {
    expect(only(template, 'AWS::ECS::Service').Properties.ServiceConnectConfiguration).toMatchObject({
      Enabled: true, Namespace: 'internal', Services: [{ PortName: 'oauth2-proxy', ClientAliases: [{ DnsName: 'mlflow', Port: 80 }] }],
    });
    expect(container(template, 'oauth2-proxy').PortMappings).toEqual([{ ContainerPort: 4180, Name: 'oauth2-proxy', Protocol: 'tcp' }]);
    expect(rulesOf(template, only(template, 'AWS::EC2::SecurityGroup', 'Service').id, 'Ingress'))
      .toContainEqual(expect.objectContaining({ SourceSecurityGroupId: 'sg-0123456789abcdef0', FromPort: 4180 }));
  },
  'ECS Exec': template => {
    expect(only(template, 'AWS::ECS::Service').Properties.EnableExecuteCommand).toBe(true);
    expect(containers(template).map(({ Name, ReadonlyRootFilesystem }) => [Name, ReadonlyRootFilesystem])).toEqual([['prepare', true], ['mlflow', false], ['oauth2-proxy', true]]);
    expect(statementsOf(template, 'TaskRole')).toContainEqual(expect.objectContaining({ Action: expect.arrayContaining(['ssmmessages:OpenDataChannel']) }));
  },
  'A WAF': template => {
    const { Rules: [{ OverrideAction, Statement: { ManagedRuleGroupStatement: { RuleActionOverrides } } }] } = only(template, 'AWS::WAFv2::WebACL').Properties;
    expect(OverrideAction).toEqual({ None: {} });
    expect(RuleActionOverrides).toEqual([
      'SizeRestrictions_BODY', 'SizeRestrictions_QUERYSTRING', 'SizeRestrictions_Cookie_HEADER', 'RestrictedExtensions_URIPATH', 'RestrictedExtensions_QUERYARGUMENTS',
      'CrossSiteScripting_BODY', 'GenericLFI_BODY', 'GenericRFI_BODY', 'EC2MetaDataSSRF_BODY',
    ].map(Name => ({ Name, ActionToUse: { Count: {} } })));
    expect(JSON.stringify(only(template, 'AWS::WAFv2::WebACLAssociation').Properties.ResourceArn)).toContain('LoadBalancer');
  },
};

test('each piece of code of the page is tested', () => {
  expect([...sections.keys()]).toEqual(Object.keys(done));
});

test.each([...sections])('%s', (heading, blocks) => {
  done[heading](run(blocks));
});

test('together they do not change the id of any stateful part', () => {
  const ids = (template: Template) => resources(template).filter(([id, { DeletionPolicy }]) => id.startsWith('Mlflow') && DeletionPolicy !== undefined).map(([id]) => id);
  expect(ids(run([...sections.values()].flat()))).toEqual(ids(Template.fromStack(define().stack)));
});
