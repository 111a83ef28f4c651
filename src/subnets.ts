import * as ec2 from 'aws-cdk-lib/aws-ec2';
import { readable } from './checks/problems';

/** Props that decide which subnets of a VPC the parts get. */
export interface SubnetProps {
  readonly internetFacing: boolean;
  readonly loadBalancerSubnets?: ec2.SubnetSelection;
  readonly serviceSubnets?: ec2.SubnetSelection;
  readonly databaseSubnets?: ec2.SubnetSelection;
}

/** The subnets of each part: those of the props, or else subnets of a suitable kind. */
export function subnetSelections({ privateSubnets, isolatedSubnets }: ec2.IVpc, props: SubnetProps): Required<Omit<SubnetProps, 'internetFacing'>> {
  const { PUBLIC, PRIVATE_WITH_EGRESS, PRIVATE_ISOLATED } = ec2.SubnetType;
  const [anyPrivate, anyIsolated] = [privateSubnets.length > 0, isolatedSubnets.length > 0];
  const inside = anyPrivate ? PRIVATE_WITH_EGRESS : PRIVATE_ISOLATED;
  const inZones = new OutsideLocalZones();
  const oneOfEach = [inZones, ec2.SubnetFilter.onePerAz()]; // a VPC may have several groups of a kind, and a load balancer accepts one subnet in each zone
  return {
    loadBalancerSubnets: props.loadBalancerSubnets ?? { subnetType: props.internetFacing ? PUBLIC : inside, subnetFilters: oneOfEach },
    serviceSubnets: props.serviceSubnets ?? { subnetType: anyPrivate ? PRIVATE_WITH_EGRESS : PUBLIC, subnetFilters: [inZones] },
    databaseSubnets: props.databaseSubnets ?? { subnetType: anyIsolated ? PRIVATE_ISOLATED : PRIVATE_WITH_EGRESS, subnetFilters: oneOfEach },
  };
}

/** Undefined if the subnet does not have it, such as one that is imported only by its id. */
export function zoneOf(subnet: ec2.ISubnet): string | undefined {
  return readable(() => subnet.availabilityZone);
}

/** The first subnet of each zone, and all subnets whose zone is not known. */
export function onePerZone(subnets: ec2.ISubnet[]): ec2.ISubnet[] {
  const zones = subnets.map(zoneOf);
  return subnets.filter((_, index) => zones[index] === undefined || zones.indexOf(zones[index]) === index);
}

/**
 * Leaves out local zones and Wavelength zones, such as `us-west-2-lax-1a`. Aurora and Fargate are not available there, and a load balancer does not accept
 * subnets in both kinds of zones.
 */
class OutsideLocalZones extends ec2.SubnetFilter {
  public selectSubnets(subnets: ec2.ISubnet[]): ec2.ISubnet[] {
    return subnets.filter(({ availabilityZone }) => !/-\d+-/.test(availabilityZone));
  }
}
