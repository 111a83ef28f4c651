import { Stack } from 'aws-cdk-lib';
import { Template } from 'aws-cdk-lib/assertions';
import * as ec2 from 'aws-cdk-lib/aws-ec2';
import { broughtVpc, define, newApp, one, only, Overrides, refusal, synthesise } from './fixtures';

/** The subnets of each part: their ids, or the beginning of their references. */
function places(template: Template) {
  const ids = (subnets: (string | { Ref: string })[]) => subnets.map(subnet => typeof subnet === 'string' ? subnet : subnet.Ref.replace(/Subnet[0-9A-F]{8}$/, ''));
  return {
    loadBalancer: ids(only(template, 'AWS::ElasticLoadBalancingV2::LoadBalancer').Properties.Subnets),
    service: ids(only(template, 'AWS::ECS::Service').Properties.NetworkConfiguration.AwsvpcConfiguration.Subnets),
    database: ids(only(template, 'AWS::RDS::DBSubnetGroup').Properties.SubnetIds),
  };
}

type Group = Record<string, string[]>;

/** An existing VPC: for each kind, groups by name, each with subnets in some of the zones, in their order. */
function vpcOf(stack: Stack, zones: string[], kinds: { public?: Group; private?: Group; isolated?: Group }): ec2.IVpc {
  const ofKind = (kind: 'public' | 'private' | 'isolated') => kinds[kind] && {
    [`${kind}SubnetIds`]: Object.values(kinds[kind]!).flat(),
    [`${kind}SubnetNames`]: Object.keys(kinds[kind]!),
    [`${kind}SubnetRouteTableIds`]: Object.values(kinds[kind]!).flat().map(id => `rtb-${id}`),
  };
  return ec2.Vpc.fromVpcAttributes(stack, 'BroughtVpc', { vpcId: 'vpc-brought', availabilityZones: zones, ...ofKind('public'), ...ofKind('private'), ...ofKind('isolated') });
}

const TWO = ['eu-west-1a', 'eu-west-1b'];
const THREE = [...TWO, 'eu-west-1c'];
const severalGroups = (stack: Stack) => vpcOf(stack, TWO, {
  public: { Public: ['public-a', 'public-b'], Dmz: ['dmz-a', 'dmz-b'] },
  private: { App: ['app-a', 'app-b'], Batch: ['batch-a', 'batch-b'] },
  isolated: { Database: ['database-a', 'database-b'], Transit: ['transit-a', 'transit-b'] },
});

/** A stack with a known account and region, and the results of lookups there. */
const inRegion = (context?: Record<string, unknown>) => new Stack(newApp(context), 'Stack', { env: { account: '111122223333', region: 'eu-west-1' } });

const subnet = (stack: Stack, id: string, availabilityZone?: string) => ec2.Subnet.fromSubnetAttributes(stack, id, {
  subnetId: id, routeTableId: `rtb-${id}`, ...(availabilityZone && { availabilityZone }),
});

describe('loadBalancerSubnets', () => {
  const inside = { subnetType: ec2.SubnetType.PRIVATE_WITH_EGRESS };

  test('fail for private ones of a public load balancer, which could not be reached', () => {
    expect(refusal(stack => ({ vpc: broughtVpc(stack), loadBalancerSubnets: inside }))).toMatch(
      /`loadBalancerSubnets` must be public where `internetFacing` is not false, got .*: the load balancer could not be reached; choose public subnets, or set `internetFacing: false`$/);
  });

  test('may be private for an internal load balancer', () => {
    const { template } = synthesise(stack => ({ vpc: broughtVpc(stack), loadBalancerSubnets: inside, internetFacing: false }));
    expect(places(template).loadBalancer).toEqual(['subnet-private-a', 'subnet-private-b']);
  });
});

describe('with several groups of subnets of a kind', () => {
  const tasks = ['app-a', 'app-b', 'batch-a', 'batch-b'];

  test('load balancer and database get one subnet of each zone', () => {
    const { template } = synthesise(stack => ({ vpc: severalGroups(stack) }));
    expect(places(template)).toEqual({ loadBalancer: ['public-a', 'public-b'], service: tasks, database: ['database-a', 'database-b'] });
  });

  test('an internal load balancer does, too', () => {
    const { template } = synthesise(stack => ({ vpc: severalGroups(stack), internetFacing: false }));
    expect(places(template)).toMatchObject({ loadBalancer: ['app-a', 'app-b'], service: tasks });
  });

  test('also of an ec2.Vpc of the app, in two zones and in three', () => {
    const vpc = (stack: Stack) => new ec2.Vpc(stack, 'Own', {
      maxAzs: 3,
      natGateways: 1,
      subnetConfiguration: [
        { name: 'Public', subnetType: ec2.SubnetType.PUBLIC },
        { name: 'App', subnetType: ec2.SubnetType.PRIVATE_WITH_EGRESS },
        { name: 'Batch', subnetType: ec2.SubnetType.PRIVATE_WITH_EGRESS },
      ],
    });
    const inApp = (zones: number) => Array.from({ length: zones }, (_, index) => `OwnAppSubnet${index + 1}`);
    const { template: two } = synthesise(stack => ({ vpc: vpc(stack), internetFacing: false })); // a stack without a region has two
    expect(places(two)).toMatchObject({ loadBalancer: inApp(2), database: inApp(2) });
    const { template: three } = synthesise(
      stack => ({ vpc: vpc(stack), internetFacing: false }), inRegion({ 'availability-zones:account=111122223333:region=eu-west-1': THREE }));
    expect(places(three)).toMatchObject({ loadBalancer: inApp(3), database: inApp(3) });
  });

  test('a selection with two subnets of a zone for the load balancer is refused', () => {
    expect(refusal(stack => ({ vpc: severalGroups(stack), loadBalancerSubnets: { subnetType: ec2.SubnetType.PUBLIC } }))).toBe(one(
      '`loadBalancerSubnets` must contain one subnet in each zone, got Stack/BroughtVpc/PublicSubnet1 in eu-west-1a, Stack/BroughtVpc/PublicSubnet2 in eu-west-1b, '
      + 'Stack/BroughtVpc/DmzSubnet3 in eu-west-1a, Stack/BroughtVpc/DmzSubnet4 in eu-west-1b: add `onePerAz: true` to the selection, or leave out the other subnets of the zone'));
  });

  test('a selection with onePerAz, or of one group, is not changed', () => {
    const { template } = synthesise(stack => ({
      vpc: severalGroups(stack),
      loadBalancerSubnets: { subnetType: ec2.SubnetType.PUBLIC, onePerAz: true },
      databaseSubnets: { subnetGroupName: 'Transit' },
      serviceSubnets: { subnetGroupName: 'Batch' },
    }));
    expect(places(template)).toEqual({ loadBalancer: ['public-a', 'public-b'], service: ['batch-a', 'batch-b'], database: ['transit-a', 'transit-b'] });
  });
});

describe('zones', () => {
  test('three: every part is in all of them', () => {
    const { template } = synthesise(stack => ({
      vpc: vpcOf(stack, THREE, { public: { Public: ['pa', 'pb', 'pc'] }, private: { App: ['aa', 'ab', 'ac'] }, isolated: { Database: ['da', 'db', 'dc'] } }),
    }));
    expect(places(template)).toEqual({ loadBalancer: ['pa', 'pb', 'pc'], service: ['aa', 'ab', 'ac'], database: ['da', 'db', 'dc'] });
  });

  const oneZone = 'use a VPC with such subnets in two zones (`maxAzs` of an ec2.Vpc), or choose other subnets; local zones do not count';

  test('one is refused for load balancer and database, in a VPC of the app as well as in another', () => {
    const own = refusal(stack => ({ vpc: new ec2.Vpc(stack, 'Own', { maxAzs: 1 }) }));
    expect(own.split('\n').slice(1)).toEqual([
      `  - \`loadBalancerSubnets\` must be in at least two zones, got Stack/Own/PublicSubnet1: ${oneZone}`,
      `  - \`databaseSubnets\` must be in at least two zones, got Stack/Own/PrivateSubnet1: ${oneZone}`,
    ]);
    expect(refusal(stack => ({ vpc: broughtVpc(stack), databaseSubnets: { subnets: [subnet(stack, 'da', TWO[0]), subnet(stack, 'other', TWO[0])] } })))
      .toBe(one(`\`databaseSubnets\` must be in at least two zones, got Stack/da in eu-west-1a, Stack/other in eu-west-1a: ${oneZone}`));
  });

  test('local zones and Wavelength zones are left out', () => {
    const zones = ['us-west-2a', 'us-west-2b', 'us-west-2-lax-1a', 'us-west-2-wl1-las-wlz-1'];
    const ids = (kind: string) => zones.map(zone => `${kind}-${zone}`);
    const vpc = (stack: Stack, kinds: string[]) => vpcOf(stack, zones, Object.fromEntries(kinds.map(kind => [kind, { [kind]: ids(kind) }])));
    const { template } = synthesise(stack => ({ vpc: vpc(stack, ['public', 'private', 'isolated']) }));
    expect(places(template)).toEqual({ loadBalancer: ids('public').slice(0, 2), service: ids('private').slice(0, 2), database: ids('isolated').slice(0, 2) });
  });

  test('a VPC only in local zones is refused, because tasks cannot run there either', () => {
    const vpc = (stack: Stack) => vpcOf(stack, ['us-west-2-lax-1a', 'us-west-2-lax-1b'], { public: { Public: ['pa', 'pb'] }, private: { App: ['aa', 'ab'] } });
    expect(refusal(stack => ({ vpc: vpc(stack) })).match(/`\w+Subnets` must be in at least (one zone|two zones), got no subnet/g)).toHaveLength(3);
  });

  test('tasks in zones without the load balancer would get no requests, and are refused', () => {
    const group = (type: string, zones: string[]) => ({
      name: type, type, subnets: zones.map(zone => ({ subnetId: `${type}-${zone}`, availabilityZone: zone, routeTableId: `rtb-${type}-${zone}` })),
    });
    const subnetGroups = [group('Public', TWO), group('Private', THREE)];
    const vpcs = { vpcId: 'vpc-1', vpcCidrBlock: '10.0.0.0/16', availabilityZones: [], subnetGroups };
    const query = 'vpc-provider:account=111122223333:filter.vpc-id=vpc-1:region=eu-west-1:returnAsymmetricSubnets=true';
    const stack = () => inRegion({ [query]: vpcs });
    const looked = (own: Stack): Overrides => ({ vpc: ec2.Vpc.fromLookup(own, 'Looked', { vpcId: 'vpc-1' }) });
    expect(refusal(looked, stack())).toBe(one(
      '`serviceSubnets` must be in zones of `loadBalancerSubnets`, got Stack/Looked/PrivateSubnet3 in eu-west-1c: '
      + 'the load balancer would send no requests to tasks there; give it a subnet in each of these zones, or choose the zones of the tasks with `availabilityZones`'));
    const serviceSubnets = { subnetType: ec2.SubnetType.PRIVATE_WITH_EGRESS, availabilityZones: TWO };
    const chosen = (own: Stack): Overrides => ({ ...looked(own), serviceSubnets });
    expect(places(synthesise(chosen, stack()).template).service).toEqual(TWO.map(zone => `Private-${zone}`));
  });
});

describe('unknown zones are not checked', () => {
  test.each<[string, (stack: Stack) => Overrides]>([
    ['zones of subnets that are imported by id', stack => ({
      loadBalancerSubnets: { subnets: [subnet(stack, 'lb-1'), subnet(stack, 'lb-2')] },
      serviceSubnets: { subnets: [subnet(stack, 'task-1')] },
      databaseSubnets: { subnets: [subnet(stack, 'db-1'), subnet(stack, 'db-2')] },
    })],
    ['zones of the load balancer alone', stack => ({ loadBalancerSubnets: { subnets: [subnet(stack, 'lb-1'), subnet(stack, 'lb-2', 'eu-west-1x')] } })],
    ['zones of the tasks alone', stack => ({ serviceSubnets: { subnets: [subnet(stack, 'task-1')] } })],
  ])('%s', (_, choose) => {
    expect(() => define(stack => ({ vpc: broughtVpc(stack), ...choose(stack) }))).not.toThrow();
  });

  test('subnets before a lookup', () => {
    const found = (stack: Stack): Overrides => ({
      vpc: ec2.Vpc.fromLookup(stack, 'Looked', { vpcId: 'vpc-1' }),
      loadBalancerSubnets: { subnetGroupName: 'Dmz', onePerAz: true },
      serviceSubnets: { subnets: [subnet(stack, 'task-1', 'eu-west-1a')] },
    });
    expect(() => synthesise(found, inRegion())).not.toThrow();
  });
});

test('a VPC without subnets of a kind is refused', () => {
  const message = refusal(stack => ({ vpc: broughtVpc(stack, { private: true }) }));
  expect(message).toContain('`loadBalancerSubnets` must be subnets of `vpc`, got none: There are no \'Public\' subnet groups in this VPC.');
  expect(message).toContain('; choose other subnets, or use a VPC that has such subnets');
});
