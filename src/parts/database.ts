import { Annotations, Duration, RemovalPolicy, Token } from 'aws-cdk-lib';
import * as ec2 from 'aws-cdk-lib/aws-ec2';
import * as kms from 'aws-cdk-lib/aws-kms';
import * as rds from 'aws-cdk-lib/aws-rds';
import * as secretsmanager from 'aws-cdk-lib/aws-secretsmanager';
import { Construct } from 'constructs';
import { DATABASE_NAME, DATABASE_PORT, DATABASE_USER, databaseParameters } from '../settings/database';

export interface DatabaseProps {
  readonly vpc: ec2.IVpc;
  readonly vpcSubnets: ec2.SubnetSelection;
  readonly minAcus: number;
  readonly maxAcus: number;
  readonly pauseAfter: Duration;
  readonly encryptionKey?: kms.IKey;
  readonly engineVersion: rds.AuroraPostgresEngineVersion;
  readonly parameters?: Record<string, string>;
  readonly backupRetention: Duration;
  readonly databaseInsightsMode?: rds.DatabaseInsightsMode;
  readonly snapshotIdentifier?: string;
  readonly deletionProtection: boolean;
  readonly removalPolicy: RemovalPolicy;
}

/** Aurora PostgreSQL Serverless v2, which pauses when there are no connections. */
export class Database extends Construct {
  public readonly cluster: rds.DatabaseCluster;
  public readonly secret: secretsmanager.ISecret;

  public constructor(scope: Construct, id: string, props: DatabaseProps) {
    super(scope, id);
    const { vpc, vpcSubnets, encryptionKey, removalPolicy } = props;
    const credentials = new rds.DatabaseSecret(this, 'Credentials', { username: DATABASE_USER, ...(encryptionKey && { encryptionKey }) });
    credentials.applyRemovalPolicy(removalPolicy === RemovalPolicy.SNAPSHOT ? RemovalPolicy.RETAIN : removalPolicy);
    const engine = rds.DatabaseClusterEngine.auroraPostgres({ version: props.engineVersion });

    this.cluster = new rds.DatabaseCluster(this, 'Cluster', {
      engine,
      writer: rds.ClusterInstance.serverlessV2('Writer', { publiclyAccessible: false, autoMinorVersionUpgrade: true }),
      serverlessV2MinCapacity: Token.isUnresolved(props.minAcus) ? 0 : props.minAcus,
      serverlessV2MaxCapacity: Token.isUnresolved(props.maxAcus) ? 256 : props.maxAcus,
      ...(props.minAcus === 0 && { serverlessV2AutoPauseDuration: props.pauseAfter }),
      credentials: rds.Credentials.fromSecret(credentials),
      defaultDatabaseName: DATABASE_NAME,
      port: DATABASE_PORT,
      vpc,
      vpcSubnets,
      securityGroups: [new ec2.SecurityGroup(this, 'SecurityGroup', { vpc, description: 'MLflow database', allowAllOutbound: false })],
      parameterGroup: new rds.ParameterGroup(this, 'ParameterGroup', {
        engine,
        description: 'MLflow: TLS only, idle sessions end so that the database can pause',
        parameters: { ...props.parameters, ...databaseParameters },
      }),
      storageEncrypted: true,
      ...(encryptionKey && { storageEncryptionKey: encryptionKey }),
      iamAuthentication: true, // free, and passwords still work; a role also needs the permission and a database user
      backup: { retention: props.backupRetention },
      ...insights(props),
      copyTagsToSnapshot: true,
      deletionProtection: props.deletionProtection,
      removalPolicy,
    });
    // The CDK warns that the instance has no setting for insights. The setting of the cluster applies to it.
    Annotations.of(this.cluster).acknowledgeWarning('@aws-cdk/aws-rds:instancePerformanceInsightsOverridden');
    // The CDK compares the two numbers, which fails for CDK tokens. They are therefore set with an override.
    const resource = this.cluster.node.defaultChild as rds.CfnDBCluster;
    for (const [name, value] of Object.entries({ MinCapacity: props.minAcus, MaxCapacity: props.maxAcus })) {
      if (Token.isUnresolved(value)) {
        resource.addPropertyOverride(`ServerlessV2ScalingConfiguration.${name}`, value);
      }
    }
    if (props.snapshotIdentifier !== undefined) { // not rds.DatabaseClusterFromSnapshot, which has other logical ids
      resource.snapshotIdentifier = props.snapshotIdentifier;
      resource.addPropertyDeletionOverride('MasterUsername'); // the user comes from the snapshot; the password is set after the restore
    }
    this.secret = this.cluster.secret!; // the same secret, which now also contains the host
  }
}

function insights({ databaseInsightsMode, encryptionKey }: DatabaseProps) {
  return databaseInsightsMode && {
    databaseInsightsMode,
    enablePerformanceInsights: true,
    // RDS requires it; the other mode keeps data for a week
    ...(databaseInsightsMode === rds.DatabaseInsightsMode.ADVANCED && { performanceInsightRetention: rds.PerformanceInsightRetention.MONTHS_15 }),
    ...(encryptionKey && { performanceInsightEncryptionKey: encryptionKey }),
  };
}
