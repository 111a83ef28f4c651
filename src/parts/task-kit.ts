import { readFileSync } from 'fs';
import { join } from 'path';
import { Duration, Stack } from 'aws-cdk-lib';
import * as ecs from 'aws-cdk-lib/aws-ecs';
import * as iam from 'aws-cdk-lib/aws-iam';
import type * as kms from 'aws-cdk-lib/aws-kms';
import type * as logs from 'aws-cdk-lib/aws-logs';
import type { Construct } from 'constructs';
import type { Database } from './database';
import { databaseEnvironment, iamDatabaseEnvironment } from '../settings/database';
import { CONFIG_DIRECTORY, PROGRAMS_DIRECTORY, TEMPORARY_DIRECTORY } from '../settings/mlflow';

/** MLflow with database drivers, boto3 and uvloop; the plain image has none of them. */
export const MLFLOW_IMAGE = 'ghcr.io/mlflow/mlflow:v3.17.2-full';
/** Not below 7.15.5, which fixes GHSA-63jm-59jj-478j and GHSA-wr5q-7wxw-x568. */
export const OAUTH2_PROXY_IMAGE = 'quay.io/oauth2-proxy/oauth2-proxy:v7.15.6';

/** The command line that runs a program which `prepare` has written. */
export function program(name: string): string[] {
  return ['python', `${PROGRAMS_DIRECTORY}/${name}`];
}

function containerFile(name: string): string {
  return readFileSync(join(__dirname, '..', '..', 'containers', name), 'utf8');
}

/** Nobody in particular: MLflow's image has no such user, and needs none. */
export const MLFLOW_USER = '10001:10001';
/** The volumes of a task, empty when it starts. */
export const VOLUMES: ecs.Volume[] = [{ name: 'tmp' }, { name: 'config' }];
export const TMP: ecs.MountPoint = { sourceVolume: 'tmp', containerPath: TEMPORARY_DIRECTORY, readOnly: false };
export const CONFIG: ecs.MountPoint = { sourceVolume: 'config', containerPath: CONFIG_DIRECTORY, readOnly: true };

export interface TaskKitProps {
  readonly database: Database;
  readonly mlflowImage?: ecs.ContainerImage;
  /** Of every container. */
  readonly networkProxyEnvironment: Record<string, string>;
  readonly encryptionKey?: kms.IKey;
  /** What all containers print. */
  readonly logGroup: logs.ILogGroup;
}

/** What the task of the service and that of the clean-up have in common. */
export class TaskKit {
  private readonly linuxParameters: ecs.LinuxParameters;
  private readonly region: string;

  public constructor(scope: Construct, private readonly props: TaskKitProps) {
    this.region = Stack.of(scope).region;
    this.linuxParameters = new ecs.LinuxParameters(scope, 'LinuxParameters');
    this.linuxParameters.dropCapabilities(ecs.Capability.ALL);
  }

  /** The first container of a task, of the service's or another: it makes the volumes ready, writes the programs and waits for the database. */
  public addPrepare(
    taskDefinition: ecs.FargateTaskDefinition, programs: 'service' | 'clean-up', streamPrefix: string, environment: Record<string, string>,
  ): ecs.ContainerDefinition {
    const prepare = taskDefinition.addContainer('prepare', {
      ...this.passwordOptions(streamPrefix, environment),
      essential: false,
      user: '0:0', // to open the volumes, which belong to root, for the others
      command: ['python', '-c', containerFile('unpack.py'), containerFile(`${programs}.packed`)],
      // No start timeout: Fargate allows two minutes at most, and a migration may take longer.
    });
    prepare.addMountPoints(TMP, { ...CONFIG, readOnly: false });
    return prepare;
  }

  /** Where the secrets have a key of the user's, a task reads them only with it. */
  public grantSecretsKey(taskDefinition: ecs.FargateTaskDefinition): void {
    const { encryptionKey } = this.props;
    if (encryptionKey) {
      iam.Grant.addToPrincipal({
        grantee: taskDefinition.obtainExecutionRole(),
        actions: ['kms:Decrypt'],
        resourceArns: [encryptionKey.keyArn],
        conditions: { StringEquals: { 'kms:ViaService': `secretsmanager.${this.region}.amazonaws.com` } },
      });
    }
  }

  /** What a container has that runs MLflow's code and reaches the database with the password. */
  public passwordOptions(streamPrefix: string, environment: Record<string, string>) {
    const { cluster, secret } = this.props.database;
    return {
      ...this.mlflowOptions(streamPrefix, { ...databaseEnvironment(cluster.clusterEndpoint.hostname), ...environment }),
      secrets: { PGPASSWORD: ecs.Secret.fromSecretsManager(secret, 'password') },
    };
  }

  /** The same with tokens of RDS in place of the password. */
  public iamOptions(streamPrefix: string, environment: Record<string, string>) {
    const { hostname } = this.props.database.cluster.clusterEndpoint;
    return { ...this.mlflowOptions(streamPrefix, { ...iamDatabaseEnvironment(hostname), ...environment }), secrets: {} };
  }

  private mlflowOptions(streamPrefix: string, environment: Record<string, string>) {
    return { ...this.commonOptions(streamPrefix, environment), image: this.props.mlflowImage ?? ecs.ContainerImage.fromRegistry(MLFLOW_IMAGE) };
  }

  /** What every container has. */
  public commonOptions(streamPrefix: string, environment: Record<string, string>) {
    return {
      environment: { ...this.props.networkProxyEnvironment, ...environment },
      readonlyRootFilesystem: true,
      linuxParameters: this.linuxParameters,
      stopTimeout: Duration.seconds(120), // the longest that Fargate grants; uploads in flight end
      logging: ecs.LogDriver.awsLogs({ logGroup: this.props.logGroup, streamPrefix }),
    };
  }
}
