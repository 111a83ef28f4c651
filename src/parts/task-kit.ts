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

/** MLflow with database drivers, boto3 and uvloop, which the plain image does not contain. */
export const MLFLOW_IMAGE = 'ghcr.io/mlflow/mlflow:v3.17.2-full';
/** At least 7.15.5, which fixes GHSA-63jm-59jj-478j and GHSA-wr5q-7wxw-x568. */
export const OAUTH2_PROXY_IMAGE = 'quay.io/oauth2-proxy/oauth2-proxy:v7.15.6';

/** The command line that runs a program which `prepare` has written. */
export function program(name: string): string[] {
  return ['python', `${PROGRAMS_DIRECTORY}/${name}`];
}

function containerFile(name: string): string {
  return readFileSync(join(__dirname, '..', '..', 'containers', name), 'utf8');
}

/** An arbitrary user without privileges. MLflow's image does not define it and does not need to. */
export const MLFLOW_USER = '10001:10001';
/** The volumes of a task. They are empty when it starts. */
export const VOLUMES: ecs.Volume[] = [{ name: 'tmp' }, { name: 'config' }];
export const TMP: ecs.MountPoint = { sourceVolume: 'tmp', containerPath: TEMPORARY_DIRECTORY, readOnly: false };
export const CONFIG: ecs.MountPoint = { sourceVolume: 'config', containerPath: CONFIG_DIRECTORY, readOnly: true };

export interface TaskKitProps {
  readonly database: Database;
  readonly mlflowImage?: ecs.ContainerImage;
  /** Environment variables of every container. */
  readonly networkProxyEnvironment: Record<string, string>;
  readonly encryptionKey?: kms.IKey;
  /** The log group of all containers. */
  readonly logGroup: logs.ILogGroup;
}

/** The parts that the task of the service and the task of the clean-up share. */
export class TaskKit {
  private readonly linuxParameters: ecs.LinuxParameters;
  private readonly region: string;

  public constructor(scope: Construct, private readonly props: TaskKitProps) {
    this.region = Stack.of(scope).region;
    this.linuxParameters = new ecs.LinuxParameters(scope, 'LinuxParameters');
    this.linuxParameters.dropCapabilities(ecs.Capability.ALL);
  }

  /** Adds `prepare`, the first container of a task. It prepares the volumes, writes the programs and waits for the database. */
  public addPrepare(
    taskDefinition: ecs.FargateTaskDefinition, programs: 'service' | 'clean-up', streamPrefix: string, environment: Record<string, string>,
  ): ecs.ContainerDefinition {
    const prepare = taskDefinition.addContainer('prepare', {
      ...this.passwordOptions(streamPrefix, environment),
      essential: false,
      user: '0:0', // only root can make the volumes accessible to the other users
      command: ['python', '-c', containerFile('unpack.py'), containerFile(`${programs}.packed`)],
      // No start timeout: Fargate allows at most two minutes, and a migration may take longer.
    });
    prepare.addMountPoints(TMP, { ...CONFIG, readOnly: false });
    return prepare;
  }

  /** Allows a task to decrypt the secrets, if they are encrypted with `encryptionKey`. */
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

  /** Options of a container that runs MLflow's code and authenticates to the database with the password. */
  public passwordOptions(streamPrefix: string, environment: Record<string, string>) {
    const { cluster, secret } = this.props.database;
    return {
      ...this.mlflowOptions(streamPrefix, { ...databaseEnvironment(cluster.clusterEndpoint.hostname), ...environment }),
      secrets: { PGPASSWORD: ecs.Secret.fromSecretsManager(secret, 'password') },
    };
  }

  /** Options of a container that runs MLflow's code and authenticates to the database with RDS authentication tokens. */
  public iamOptions(streamPrefix: string, environment: Record<string, string>) {
    const { hostname } = this.props.database.cluster.clusterEndpoint;
    return { ...this.mlflowOptions(streamPrefix, { ...iamDatabaseEnvironment(hostname), ...environment }), secrets: {} };
  }

  private mlflowOptions(streamPrefix: string, environment: Record<string, string>) {
    return { ...this.commonOptions(streamPrefix, environment), image: this.props.mlflowImage ?? ecs.ContainerImage.fromRegistry(MLFLOW_IMAGE) };
  }

  /** Options of every container. */
  public commonOptions(streamPrefix: string, environment: Record<string, string>) {
    return {
      environment: { ...this.props.networkProxyEnvironment, ...environment },
      readonlyRootFilesystem: true,
      linuxParameters: this.linuxParameters,
      stopTimeout: Duration.seconds(120), // the maximum of Fargate, so that running uploads can finish
      logging: ecs.LogDriver.awsLogs({ logGroup: this.props.logGroup, streamPrefix }),
    };
  }
}
