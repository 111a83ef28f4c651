import { App, Stack } from 'aws-cdk-lib';
import * as ec2 from 'aws-cdk-lib/aws-ec2';
import * as iam from 'aws-cdk-lib/aws-iam';
import { define, OverridesOf, warningsIn } from './fixtures';

const sources = (count: number) => Array.from({ length: count }, (_, index) => ec2.Peer.ipv4(`192.0.2.${index}/32`));

test.each([60, 61])('allowedSources may be %d, with a warning if a security group may not allow as many rules', count => {
  const warnings = warningsIn(define({ allowedSources: [...sources(count), ec2.Peer.ipv4('192.0.2.0/32')] }).stack); // a duplicate counts as one rule
  expect(warnings).toEqual(count === 60 ? [] : [['manySources',
    '`allowedSources` needs up to 61 rules in a security group (one for each source, 55 for a prefix list as large as that of CloudFront), '
    + 'and AWS allows 60 unless the quota of your account was raised: the deployment may fail; use larger ranges, or a security group as the source']]);
});

test.each([5, 6])('a prefix list counts like that of CloudFront, with %d sources', count => {
  const warnings = warningsIn(define({ allowedSources: [...sources(count), ec2.Peer.prefixList('pl-3b927c52')] }).stack);
  expect(warnings.map(([id]) => id)).toEqual(count === 5 ? [] : ['manySources']);
});

test.each<[string, (stack: Stack) => ec2.IPeer[], string[]]>([
  ['60 of IPv4 and 60 of IPv6', () => [...sources(60), ...Array.from({ length: 60 }, (_, index) => ec2.Peer.ipv6(`2001:db8::${index}/128`))], []],
  ['61 of IPv6', () => Array.from({ length: 61 }, (_, index) => ec2.Peer.ipv6(`2001:db8::${index}/128`)), ['manySources']],
  ['60 of IPv4 and a group, which counts in both', stack => [...sources(60), ec2.SecurityGroup.fromSecurityGroupId(stack, 'Office', 'sg-1')], ['manySources']],
])('%s', (_, allowedSources, expected) => {
  expect(warningsIn(define(stack => ({ allowedSources: allowedSources(stack) })).stack).map(([id]) => id)).toEqual(expected);
});

describe('a task definition of more than 64 KiB is refused', () => {
  const REFUSAL = /the task definition must have at most 65536 bytes, the limit of ECS, got about \d{5}: shorten `environment`, /;
  const synth = (overrides: OverridesOf, then?: (defined: ReturnType<typeof define>) => void) => () => {
    const defined = define(overrides);
    then?.(defined);
    return (defined.stack.node.root as App).synth();
  };
  const large = (size: number) => ({ environment: { LARGE: 'x'.repeat(size) } });

  test('for its environment', () => {
    expect(synth(large(10_000))).not.toThrow();
    expect(synth(large(30_000))).toThrow(REFUSAL);
  });

  test('for characters of more than one byte', () => {
    expect(synth({ environment: { LARGE: 'ü'.repeat(15_000) } })).toThrow(REFUSAL);
  });

  test('for the roles that have access', () => {
    const awsIdentityIssuer = 'https://1a2b.tokens.sts.global.api.aws';
    const grant = (count: number) => synth({ awsIdentityIssuer }, ({ stack, mlflow }) => {
      for (let index = 0; index < count; index++) {
        mlflow.grantTrackingAccess(iam.Role.fromRoleArn(stack, `Role${index}`, `arn:aws:iam::111122223333:role/training-of-team-${index}`, { mutable: false }));
      }
    });
    expect(grant(100)).not.toThrow();
    expect(grant(600)).toThrow(REFUSAL);
  });
});
