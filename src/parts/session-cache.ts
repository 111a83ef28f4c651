import { Fn, RemovalPolicy, Stack } from 'aws-cdk-lib';
import * as ec2 from 'aws-cdk-lib/aws-ec2';
import * as elasticache from 'aws-cdk-lib/aws-elasticache';
import * as kms from 'aws-cdk-lib/aws-kms';
import * as secretsmanager from 'aws-cdk-lib/aws-secretsmanager';
import { Construct } from 'constructs';
import { COOKIE_NAME } from '../settings/oauth2-proxy';
import { onePerZone } from '../subnets';

export interface SessionCacheProps {
  readonly vpc: ec2.IVpc;
  readonly vpcSubnets: ec2.SubnetSelection;
  readonly encryptionKey?: kms.IKey;
}

/**
 * ElastiCache Serverless for Valkey: TLS only, encrypted, in several zones. Idle, it costs less than the smallest node, which is in one zone.
 *
 * It is deleted with the stack, as well as its password: people then have to sign in again, and no other data are lost.
 */
export class SessionCache extends Construct {
  public readonly host: string;
  public readonly username = 'oauth2-proxy';
  public readonly password: secretsmanager.ISecret;
  public readonly connections: ec2.Connections;

  public constructor(scope: Construct, id: string, { vpc, vpcSubnets, encryptionKey }: SessionCacheProps) {
    super(scope, id);
    // ElastiCache accepts 16 to 128 characters and only some punctuation.
    this.password = new secretsmanager.Secret(this, 'Password', {
      description: 'MLflow: password of the session store',
      generateSecretString: { passwordLength: 64, excludePunctuation: true },
      ...(encryptionKey && { encryptionKey }),
      removalPolicy: RemovalPolicy.DESTROY,
    });
    const securityGroup = new ec2.SecurityGroup(this, 'SecurityGroup', { vpc, description: 'MLflow sessions', allowAllOutbound: false });
    this.connections = new ec2.Connections({ securityGroups: [securityGroup] });

    // CloudFormation does not generate names for the next three resources. They must be unique in account and region and have at most 40 characters.
    const stackId = Fn.select(4, Fn.split('-', Fn.select(2, Fn.split('/', Stack.of(this).stackId)))); // the end of its UUID
    const name = `mlflow-${this.node.addr.slice(-8)}-${stackId}`;
    const user = new elasticache.CfnUser(this, 'User', {
      engine: 'valkey',
      userId: name,
      userName: this.username,
      accessString: `on ~${COOKIE_NAME}-* +@all -@dangerous`, // only keys of sessions, and no administrative commands
      passwords: [this.password.secretValue.unsafeUnwrap()], // a dynamic reference, which CloudFormation resolves
    });
    const userGroup = new elasticache.CfnUserGroup(this, 'UserGroup', { engine: 'valkey', userGroupId: name, userIds: [user.ref] });
    const cache = new elasticache.CfnServerlessCache(this, 'Cache', {
      engine: 'valkey',
      majorEngineVersion: '8',
      serverlessCacheName: name,
      description: 'MLflow: sessions of people who have signed in',
      userGroupId: userGroup.ref,
      subnetIds: onePerZone(vpc.selectSubnets(vpcSubnets).subnets).map(({ subnetId }) => subnetId), // ElastiCache accepts one subnet in each zone
      securityGroupIds: [securityGroup.securityGroupId],
      cacheUsageLimits: { dataStorage: { unit: 'GB', maximum: 1 } }, // limits the costs; there is room for hundreds of thousands of sessions of a few kilobytes
      ...(encryptionKey && { kmsKeyId: encryptionKey.keyArn }),
    });
    this.host = cache.attrEndpointAddress;
  }
}
