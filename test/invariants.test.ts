import { readdirSync } from 'fs';
import { CfnResource, Duration, PropertyInjectors, Stage } from 'aws-cdk-lib';
import { Annotations, Match, Template } from 'aws-cdk-lib/assertions';
import { SnsAction } from 'aws-cdk-lib/aws-cloudwatch-actions';
import * as ec2 from 'aws-cdk-lib/aws-ec2';
import * as kms from 'aws-cdk-lib/aws-kms';
import * as logs from 'aws-cdk-lib/aws-logs';
import * as sns from 'aws-cdk-lib/aws-sns';
import recommendedFlags from 'aws-cdk-lib/recommended-feature-flags.json';
import { IConstruct, IMixin } from 'constructs';
import { broughtVpc, containers, define, environmentOf, minimalProps, newStack, only, OverridesOf, resources, rulesOf, secretsOf, synthesise } from './fixtures';
import { AuthProvider, DatabaseAuthentication, SecureMlflow, SessionStore, TokenIssuer } from '../src';

const variants: [name: string, overrides: OverridesOf, warnings: number][] = [
  ['default', {}, 0],
  ['natGateways: 0', { natGateways: 0 }, 0],
  ['internetFacing: false', { internetFacing: false }, 0],
  ['an existing VPC', stack => ({ vpc: broughtVpc(stack) }), 0],
  ['machines', { machineIdentities: ['client'], awsIdentityIssuer: 'https://1a2b3c4d.tokens.sts.global.api.aws', trustedTokenIssuers: [TokenIssuer.gcloud()] }, 0],
  ['a key', stack => ({ encryptionKey: new kms.Key(stack, 'Key') }), 0],
  ['gunicorn', { gunicornOpts: '--timeout 300' }, 0],
  ['sessions on the server', { sessionStore: SessionStore.valkey() }, 0],
];
const contexts: [name: string, context: Record<string, unknown>][] = [
  ['no feature flags', {}],
  // The validator that is turned off only prints the warnings, which a test here reads.
  ['the recommended feature flags', { ...recommendedFlags, '@aws-cdk/core:annotationsInValidationReport': false }],
];

const each = contexts.flatMap(([flags, context]) =>
  variants.map(([variant, overrides, warnings]) => [variant, flags, overrides, context, warnings] as const));

describe.each(each)(
  '%s, with %s', (_variant, _flags, overrides, context, warnings) => {
    const { stack, template } = synthesise(overrides, newStack(context));
    const ids = {
      ingress: only(template, 'AWS::EC2::SecurityGroup', 'Ingress').id,
      tasks: only(template, 'AWS::EC2::SecurityGroup', 'Service').id,
      database: only(template, 'AWS::EC2::SecurityGroup', 'Database').id,
    };
    /** The session store, if there is one: the only part whose data may be lost. */
    const [sessions] = resources(template, 'AWS::EC2::SecurityGroup').map(([id]) => id).filter(id => id.includes('Sessions'));
    const ofSessions = (id: string) => id.includes('MlflowSessions');
    const group = (id: string) => ({ 'Fn::GetAtt': [id, 'GroupId'] });

    test('MLflow has no port and listens on the loopback', () => {
      expect(containers(template).filter(({ PortMappings }) => PortMappings !== undefined).map(({ Name }) => Name)).toEqual(['oauth2-proxy']);
      const servers = containers(template).filter(({ Name }) => Name.startsWith('mlflow')).map(({ Name }) => environmentOf(template, Name));
      expect(servers.map(({ MLFLOW_HOST, MLFLOW_PORT }) => `${MLFLOW_HOST}:${MLFLOW_PORT}`)).toEqual(['127.0.0.1:5000', '127.0.0.1:5001'].slice(0, Math.max(1, servers.length)));
      expect(JSON.stringify(servers)).not.toContain('0.0.0.0');
    });

    test('only the load balancer can reach the tasks, on 4180', () => {
      const ofService = only(template, 'AWS::ECS::Service').Properties.NetworkConfiguration.AwsvpcConfiguration.SecurityGroups;
      expect(ofService).toEqual([group(ids.tasks)]);
      expect(rulesOf(template, ids.tasks, 'Ingress')).toEqual([
        { Description: expect.anything(), IpProtocol: 'tcp', FromPort: 4180, ToPort: 4180, GroupId: group(ids.tasks), SourceSecurityGroupId: group(ids.ingress) },
      ]);
    });

    test('only the tasks can reach the database, on 5432', () => {
      expect(only(template, 'AWS::RDS::DBCluster').Properties.VpcSecurityGroupIds).toEqual([group(ids.database)]);
      expect(rulesOf(template, ids.database, 'Ingress')).toEqual([
        { Description: expect.anything(), IpProtocol: 'tcp', FromPort: 5432, ToPort: 5432, GroupId: group(ids.database), SourceSecurityGroupId: group(ids.tasks) },
      ]);
    });

    test('the load balancer can be reached only on 443 and 80', () => {
      expect(only(template, 'AWS::ElasticLoadBalancingV2::LoadBalancer').Properties.SecurityGroups).toEqual([group(ids.ingress)]);
      expect(rulesOf(template, ids.ingress, 'Ingress').map(({ IpProtocol, FromPort, ToPort }) => [IpProtocol, FromPort, ToPort]))
        .toEqual([['tcp', 443, 443], ['tcp', 80, 80]]);
    });

    test('each part can call what it needs and no other part', () => {
      expect(rulesOf(template, ids.ingress, 'Egress').map(rule => [rule.DestinationSecurityGroupId, rule.FromPort])).toEqual([[group(ids.tasks), 4180]]);
      expect(rulesOf(template, ids.tasks, 'Egress').map(rule => [rule.CidrIp ?? rule.DestinationSecurityGroupId, rule.FromPort, rule.ToPort]))
        .toEqual([['0.0.0.0/0', 443, 443], [group(ids.database), 5432, 5432], ...sessions === undefined ? [] : [[group(sessions), 6379, 6379]]]);
      expect(rulesOf(template, ids.database, 'Egress').map(({ CidrIp }) => CidrIp)).toEqual(['255.255.255.255/32']);
    });

    test('TLS is 1.2 or newer, and port 80 only redirects', () => {
      const listeners = resources(template, 'AWS::ElasticLoadBalancingV2::Listener').map(([, { Properties }]) => Properties);
      expect(listeners.map(({ Port, Protocol, SslPolicy, DefaultActions: [{ Type }] }) => [Port, Protocol, SslPolicy, Type])).toEqual([
        [443, 'HTTPS', 'ELBSecurityPolicy-TLS13-1-2-Res-2021-06', 'forward'],
        [80, 'HTTP', undefined, 'redirect'],
      ]);
      const rules = resources(template, 'AWS::ElasticLoadBalancingV2::ListenerRule').map(([, { Properties }]) => Properties.ListenerArn.Ref);
      expect(rules).toEqual([only(template, 'AWS::ElasticLoadBalancingV2::Listener', 'Https').id]);
    });

    test('the assistant is closed at the load balancer and again in oauth2-proxy', () => {
      const { Conditions, Actions, Priority } = only(template, 'AWS::ElasticLoadBalancingV2::ListenerRule').Properties;
      expect([Priority, Conditions[0].PathPatternConfig.Values, Actions[0].FixedResponseConfig.StatusCode]).toEqual([1, ['/ajax-api/3.0/mlflow/assistant*'], '403']);
      const upstreams: string[] = environmentOf(template, 'oauth2-proxy').OAUTH2_PROXY_UPSTREAMS.split(',');
      expect([upstreams[0], upstreams.at(-1)]).toEqual(['http://127.0.0.1:5000/', 'file:///nonexistent/#/ajax-api/3.0/mlflow/assistant/']);
      expect(upstreams.filter(upstream => upstream.includes('assistant'))).toHaveLength(1);
    });

    test('the only wildcards in permissions are the artifacts, the listed folder, and the random end of a secret name', () => {
      const allowed = [...resources(template, 'AWS::IAM::Policy').flatMap(([, { Properties }]) => Properties.PolicyDocument.Statement),
        ...resources(template, 'AWS::IAM::Role').flatMap(([, { Properties }]) => Properties.Policies ?? [])].filter(({ Effect }) => Effect === 'Allow');
      const texts = (value: unknown): string[] => typeof value === 'string' ? [value] : Object.values(value ?? {}).flatMap(texts);
      expect(allowed.flatMap(texts).filter(text => /[*?]/.test(text)).sort()).toEqual(['/mlflow/*', ':secret:mlflow/oauth-??????', 'mlflow/*']);
      expect(resources(template, 'AWS::IAM::Role').filter(([, { Properties }]) => Properties.ManagedPolicyArns !== undefined)).toEqual([]);
    });

    test('data are kept when the stack is deleted or a resource is replaced', () => {
      expect(only(template, 'AWS::RDS::DBCluster')).toMatchObject({ DeletionPolicy: 'Snapshot', UpdateReplacePolicy: 'Snapshot', Properties: { DeletionProtection: true } });
      const kept = ['AWS::S3::Bucket', 'AWS::SecretsManager::Secret', 'AWS::Logs::LogGroup'].flatMap(type => resources(template, type)).filter(([id]) => !ofSessions(id));
      expect(kept.map(([id, { DeletionPolicy, UpdateReplacePolicy }]) => [id, DeletionPolicy, UpdateReplacePolicy])).toEqual(kept.map(([id]) => [id, 'Retain', 'Retain']));
    });

    test('the service depends on the database, on the permission to read secrets, and on the listener with its rule', () => {
      expect(only(template, 'AWS::ECS::Service').DependsOn).toEqual(expect.arrayContaining([
        only(template, 'AWS::RDS::DBCluster').id,
        only(template, 'AWS::RDS::DBInstance').id,
        only(template, 'AWS::SecretsManager::SecretTargetAttachment').id,
        ...resources(template, 'AWS::EC2::SecurityGroupIngress').map(([id]) => id).filter(id => id.includes('DatabaseSecurityGroupfrom')),
        only(template, 'AWS::IAM::Policy', 'ExecutionRole').id,
        only(template, 'AWS::IAM::Policy', 'TaskRole').id,
        only(template, 'AWS::ElasticLoadBalancingV2::Listener', 'Https').id,
        only(template, 'AWS::ElasticLoadBalancingV2::ListenerRule').id,
      ]));
    });

    test('stateful resources keep their logical ids', () => {
      const stateful = ['AWS::RDS::DBCluster', 'AWS::RDS::DBInstance', 'AWS::S3::Bucket', 'AWS::SecretsManager::Secret', 'AWS::SecretsManager::SecretTargetAttachment'];
      expect(stateful.flatMap(type => resources(template, type).map(([id]) => id)).filter(id => !ofSessions(id))).toEqual([
        'MlflowDatabaseClusterB1288857',
        'MlflowDatabaseClusterWriter81E4EA15',
        'MlflowArtifactsBucketAC924F49',
        'MlflowDatabaseCredentialsCAC13012',
        'MlflowServiceEncryptionPassphraseEECF903A',
        'MlflowServiceCookieSecretDABE118A',
        'MlflowDatabaseCredentialsAttachment212BE171',
      ]);
    });

    test('there is no Lambda function, no custom resource and no asset', () => {
      expect(resources(template).map(([, { Type }]) => Type).filter(type => /^(AWS::Lambda::|Custom::|AWS::CloudFormation::)/.test(type))).toEqual([]);
      expect(readdirSync(Stage.of(stack)!.synth().directory).filter(name => name.startsWith('asset.'))).toEqual([]);
    });

    test('there is no secret in the template, a command line or a plain variable', () => {
      const references = Object.fromEntries(resources(template).map(([id, resource]) => [id, JSON.stringify(resource).match(/\{\{resolve:/g)?.length ?? 0]).filter(([, count]) => count));
      // Name and passwords that CloudFormation itself resolves.
      expect(references).toEqual({ [only(template, 'AWS::RDS::DBCluster').id]: 2, ...sessions !== undefined && { [only(template, 'AWS::ElastiCache::User').id]: 1 } });
      for (const [, { Properties }] of resources(template, 'AWS::SecretsManager::Secret')) {
        expect(Properties).not.toHaveProperty('SecretString');
        expect(Properties.GenerateSecretString.PasswordLength).toBeGreaterThanOrEqual(30);
      }
      const secrets = resources(template, 'AWS::SecretsManager::Secret').map(([id]) => id);
      for (const { Name, Command, Environment, HealthCheck } of containers(template)) {
        const plain = JSON.stringify([Command, Environment, HealthCheck]);
        expect([Name, [...secrets, 'CredentialsAttachment', 'PGPASSWORD=', 'mlflow/oauth'].filter(secret => plain.includes(secret))]).toEqual([Name, []]);
        expect(Object.keys(environmentOf(template, Name)).filter(name => Object.keys(secretsOf(template, Name)).includes(name))).toEqual([]);
      }
    });

    test('no command line goes through a shell', () => {
      const [first, ...others] = containers(template);
      const proxy = others.pop()!;
      expect([first.Command[0], proxy.Command]).toEqual(['python', undefined]);
      expect(others.map(({ Command, HealthCheck }) => [Command, HealthCheck.Command[0]])).toEqual(others.map(() => [['mlflow', 'server', '--app-name', 'secure-mlflow'], 'CMD']));
      expect(containers(template).filter(({ EntryPoint }) => EntryPoint !== undefined)).toEqual([]);
    });

    test('the defaults bring no warnings, and options only those that are expected', () => {
      const annotations = Annotations.fromStack(stack);
      expect([annotations.findWarning('*', Match.anyValue()).length, annotations.findError('*', Match.anyValue())]).toEqual([warnings, []]);
    });
  });

describe('customization from outside', () => {
  const parts = ['Network', 'Ingress', 'Database', 'Artifacts', 'Service', 'Sessions', 'CleanUp', 'Cognito', 'Monitoring'];

  /** Every construct that a part creates itself, if its props can be injected. */
  function injectable(mlflow: SecureMlflow): string[] {
    const made = parts.flatMap(part => mlflow.node.tryFindChild(part)?.node.children ?? []);
    const ids = made.map(child => (child.constructor as { PROPERTY_INJECTION_ID?: string }).PROPERTY_INJECTION_ID);
    return [...new Set(ids.filter(id => id !== undefined))];
  }

  const neverPauses: typeof variants[number] = ['a database that never pauses', { databaseCapacity: { minAcus: 0.5 } }, 0];

  const cleanUp: typeof variants[number] = ['a clean-up', { cleanUp: { olderThan: Duration.days(30) } }, 0];
  const cognito: typeof variants[number] = ['Cognito', () => ({ authProvider: AuthProvider.cognito({ machineClients: ['training'] }) }), 0];
  const iamAuthentication: typeof variants[number] = ['IAM authentication', { databaseAuthentication: DatabaseAuthentication.IAM }, 0];

  test.each([...variants, neverPauses, iamAuthentication, cleanUp, cognito])('no construct is given an explicit undefined: %s', (_, overrides) => {
    const monitored = ({ stack: scope, mlflow }: ReturnType<typeof define>) => {
      mlflow.addMonitoring({ alarmActions: [new SnsAction(new sns.Topic(scope, 'Topic'))] });
      return mlflow;
    };
    const ids = injectable(monitored(define(overrides)));
    const given = new Map<string, string[]>();
    const stack = newStack();
    PropertyInjectors.of(stack).add(...ids.map(constructUniqueId => ({
      constructUniqueId,
      inject(props: Record<string, unknown>, { scope, id }: { scope: IConstruct; id: string }) {
        const path = `${scope.node.path}/${id}`;
        // Only constructs that a part creates itself. The first call is for their class, later calls are for its base classes.
        if (parts.includes(scope.node.id) && !given.has(path)) {
          given.set(path, Object.keys(props).filter(name => props[name] === undefined));
        }
        return props;
      },
    })));
    monitored(define(overrides, stack));
    expect([...given.keys()]).toEqual(expect.arrayContaining(['Ingress/LoadBalancer', 'Database/Cluster', 'Artifacts/Bucket', 'Service/Service'].map(path => `Stack/Mlflow/${path}`)));
    expect([...given].filter(([, names]) => names.length > 0)).toEqual([]);
  });

  test('defaults of an organization are applied', () => {
    const stack = newStack();
    const defaults: [{ readonly PROPERTY_INJECTION_ID: string }, Record<string, unknown>][] = [
      [logs.LogGroup, { logGroupClass: logs.LogGroupClass.INFREQUENT_ACCESS, retention: logs.RetentionDays.ONE_DAY }],
      [ec2.Vpc, { ipAddresses: ec2.IpAddresses.cidr('10.9.0.0/16') }],
    ];
    PropertyInjectors.of(stack).add(...defaults.map(([{ PROPERTY_INJECTION_ID }, values]) => ({
      constructUniqueId: PROPERTY_INJECTION_ID,
      inject: (props: object) => ({ ...values, ...props }),
    })));
    const { template } = synthesise({}, stack);
    expect(resources(template, 'AWS::Logs::LogGroup').map(([, { Properties }]) => [Properties.LogGroupClass, Properties.RetentionInDays])).toEqual([['INFREQUENT_ACCESS', 30], ['INFREQUENT_ACCESS', 30]]);
    expect(only(template, 'AWS::EC2::VPC').Properties.CidrBlock).toBe('10.9.0.0/16');
  });

  test('a mixin reaches the inner constructs', () => {
    const { stack, mlflow } = define();
    const reached: string[] = [];
    const mixin: IMixin = {
      supports: construct => CfnResource.isCfnResource(construct),
      applyTo: construct => {
        reached.push((construct as CfnResource).cfnResourceType);
        (construct as CfnResource).addMetadata('Mixed', true);
      },
    };
    expect(mlflow.with(mixin)).toBe(mlflow);
    const template = Template.fromStack(stack);
    expect(new Set(reached)).toEqual(new Set(resources(template).map(([, { Type }]) => Type)));
    expect(only(template, 'AWS::RDS::DBCluster')).toHaveProperty('Metadata.Mixed', true);
  });

  test('two of them can be in one stack and share no resource', () => {
    const { stack } = define();
    new SecureMlflow(stack, 'Second', { ...minimalProps(stack), domainName: 'second.example.com' });
    expect(resources(Template.fromStack(stack))).toHaveLength(2 * resources(synthesise().template).length);
  });
});
