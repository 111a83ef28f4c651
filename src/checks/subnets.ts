import type { ISubnet } from 'aws-cdk-lib/aws-ec2';
import { known } from './problems';
import type { SecureMlflowProps } from '../props';
import { subnetSelections, SubnetProps, zoneOf } from '../subnets';

/** Minimum number of zones for each part: https://docs.aws.amazon.com/elasticloadbalancing/latest/application/application-load-balancers.html#subnets-load-balancer */
const LEAST_ZONES = { loadBalancerSubnets: 2, serviceSubnets: 1, databaseSubnets: 2 };

/** Problems of the subnets of a VPC that was passed, as far as their zones are known. */
export function subnetProblems({ vpc, listener }: SecureMlflowProps, settings: SubnetProps): string[] {
  if (vpc === undefined) {
    return [];
  }
  const problems: string[] = [];
  const found: Record<string, ISubnet[]> = {};
  const { loadBalancerSubnets: own, ...others } = subnetSelections(vpc, settings);
  for (const [name, selection] of Object.entries({ ...others, ...listener === undefined && { loadBalancerSubnets: own } })) {
    try {
      const { subnets, isPendingLookup } = vpc.selectSubnets(selection);
      if (isPendingLookup) {
        return []; // dummy values of a lookup
      }
      found[name] = subnets;
    } catch (error) {
      problems.push(`\`${name}\` must be subnets of \`vpc\`, got none: ${(error as Error).message}; choose other subnets, or use a VPC that has such subnets`);
    }
  }
  for (const [name, least] of Object.entries(LEAST_ZONES)) {
    problems.push(...found[name] === undefined ? [] : zoneProblems(name, found[name], least));
  }
  const { loadBalancerSubnets = [], serviceSubnets = [] } = found;
  const inside = new Set([...vpc.privateSubnets, ...vpc.isolatedSubnets]);
  if (settings.internetFacing && loadBalancerSubnets.some(subnet => inside.has(subnet))) {
    problems.push(`\`loadBalancerSubnets\` must be public where \`internetFacing\` is not false, got ${placesOf(loadBalancerSubnets)}: the load balancer could not be reached; choose public subnets, or set \`internetFacing: false\``);
  }
  return [...problems, ...sharedZoneProblems(loadBalancerSubnets), ...unservedProblems(loadBalancerSubnets, serviceSubnets)];
}

function zoneProblems(name: string, subnets: ISubnet[], least: number): string[] {
  if (new Set(subnets.map(subnet => zoneOf(subnet) ?? subnet)).size >= least) {
    return [];
  }
  const zones = least === 1 ? 'one zone' : 'two zones';
  return [`\`${name}\` must be in at least ${zones}, got ${placesOf(subnets) || 'no subnet'}: use a VPC with such subnets in ${zones} (\`maxAzs\` of an ec2.Vpc), or choose other subnets; local zones do not count`];
}

function sharedZoneProblems(subnets: ISubnet[]): string[] {
  const shared = subnets.filter(subnet => subnets.some(other => other !== subnet && zoneOf(other) !== undefined && zoneOf(other) === zoneOf(subnet)));
  return shared.length === 0 ? []
    : [`\`loadBalancerSubnets\` must contain one subnet in each zone, got ${placesOf(shared)}: add \`onePerAz: true\` to the selection, or leave out the other subnets of the zone`];
}

/** A load balancer sends no requests to targets in a zone where it has no subnet. */
function unservedProblems(loadBalancerSubnets: ISubnet[], serviceSubnets: ISubnet[]): string[] {
  const served = loadBalancerSubnets.map(zoneOf);
  const unserved = serviceSubnets.filter(subnet => known(zoneOf(subnet)) && !served.includes(zoneOf(subnet)));
  return unserved.length === 0 || served.length === 0 || !served.every(known) ? []
    : [`\`serviceSubnets\` must be in zones of \`loadBalancerSubnets\`, got ${placesOf(unserved)}: the load balancer would send no requests to tasks there; give it a subnet in each of these zones, or choose the zones of the tasks with \`availabilityZones\``];
}

function placesOf(subnets: ISubnet[]): string {
  return subnets.map(subnet => known(zoneOf(subnet)) ? `${subnet.node.path} in ${zoneOf(subnet)}` : subnet.node.path).join(', ');
}
