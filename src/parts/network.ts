import { RemovalPolicy } from 'aws-cdk-lib';
import * as ec2 from 'aws-cdk-lib/aws-ec2';
import * as kms from 'aws-cdk-lib/aws-kms';
import * as logs from 'aws-cdk-lib/aws-logs';
import { Construct } from 'constructs';
import { SubnetProps, subnetSelections } from '../subnets';

export interface NetworkProps extends SubnetProps {
  readonly vpc?: ec2.IVpc;
  readonly natGateways: number;
  readonly logRetention: logs.RetentionDays;
  readonly encryptionKey?: kms.IKey;
  readonly removalPolicy: RemovalPolicy;
}

/** The VPC, new or existing, and the subnets of each part. */
export class Network extends Construct {
  public readonly vpc: ec2.IVpc;
  public readonly loadBalancerSubnets: ec2.SubnetSelection;
  public readonly serviceSubnets: ec2.SubnetSelection;
  public readonly databaseSubnets: ec2.SubnetSelection;
  /** Tasks in a public subnet need a public address to reach S3, the image registry and the sign-in provider. */
  public readonly assignPublicIp: boolean;

  public constructor(scope: Construct, id: string, props: NetworkProps) {
    super(scope, id);
    this.vpc = props.vpc ?? this.makeVpc(props);
    const { loadBalancerSubnets, serviceSubnets, databaseSubnets } = subnetSelections(this.vpc, props);
    this.loadBalancerSubnets = loadBalancerSubnets;
    this.serviceSubnets = serviceSubnets;
    this.databaseSubnets = databaseSubnets;
    this.assignPublicIp = this.vpc.selectSubnets(this.serviceSubnets).hasPublic;
  }

  private makeVpc({ natGateways, logRetention, encryptionKey, removalPolicy }: NetworkProps): ec2.Vpc {
    const vpc = new ec2.Vpc(this, 'Vpc', {
      maxAzs: 2,
      natGateways,
      // Sizes are fixed and the optional kind of subnets is last, so that a change of `natGateways` does not move other subnets.
      subnetConfiguration: [
        { name: 'Public', subnetType: ec2.SubnetType.PUBLIC, cidrMask: 20, mapPublicIpOnLaunch: false },
        { name: 'Database', subnetType: ec2.SubnetType.PRIVATE_ISOLATED, cidrMask: 20 },
        ...(natGateways > 0 ? [{ name: 'Service', subnetType: ec2.SubnetType.PRIVATE_WITH_EGRESS, cidrMask: 20 }] : []),
      ],
      // Artifacts go to S3 through this endpoint, which avoids the charge of a NAT gateway for each GB.
      gatewayEndpoints: { S3: { service: ec2.GatewayVpcEndpointAwsService.S3 } },
      // No part uses the default security group, and the CDK would need a Lambda function to empty it.
      restrictDefaultSecurityGroup: false,
    });
    vpc.addFlowLog('FlowLog', {
      destination: ec2.FlowLogDestination.toCloudWatchLogs(new logs.LogGroup(this, 'FlowLogGroup', { retention: logRetention, ...(encryptionKey && { encryptionKey }), removalPolicy })),
      trafficType: ec2.FlowLogTrafficType.REJECT, // only rejected connections; accepted requests are in the other logs
    });
    return vpc;
  }
}
