import { Duration, RemovalPolicy } from 'aws-cdk-lib';
import * as ec2 from 'aws-cdk-lib/aws-ec2';
import * as ecs from 'aws-cdk-lib/aws-ecs';
import * as logs from 'aws-cdk-lib/aws-logs';
import * as rds from 'aws-cdk-lib/aws-rds';
import * as scheduler from 'aws-cdk-lib/aws-scheduler';
import { AccessLevel } from './access';
import { ArtifactTransfer, DatabaseAuthentication, FargateCapacity, SecureMlflowProps } from './props';

/** Defaults that error messages also contain. */
export const DEFAULT_CPU = 1024;
export const DEFAULT_MEMORY_MIB = 3072;
export const DEFAULT_MAX_ACUS = 2;
export const DEFAULT_EVERYBODY = AccessLevel.NONE;

/** It must never be lower than in an earlier release, and never lower than the version that AWS has installed automatically: docs/releasing.md. */
export const DEFAULT_ENGINE_VERSION = rds.AuroraPostgresEngineVersion.VER_17_7;

export type Settings = ReturnType<typeof withDefaults>;

/** The props with every default. Their documentation for users is in props.ts. */
export function withDefaults(props: SecureMlflowProps) {
  const { access, databaseCapacity, databaseOptions, requestLimits, cleanUp, scaling } = props;
  return {
    ...props,
    ...taskDefaults(props),
    access: access && { ...access, everybody: access.everybody ?? DEFAULT_EVERYBODY, machines: access.machines ?? AccessLevel.EDITOR },
    natGateways: props.natGateways ?? 1,
    internetFacing: props.internetFacing ?? true,
    allowedSources: props.allowedSources ?? [ec2.Peer.anyIpv4()],
    databaseCapacity: {
      minAcus: databaseCapacity?.minAcus ?? 0,
      maxAcus: databaseCapacity?.maxAcus ?? DEFAULT_MAX_ACUS,
      pauseAfter: databaseCapacity?.pauseAfter ?? Duration.minutes(10),
    },
    databaseOptions: {
      ...databaseOptions,
      engineVersion: databaseOptions?.engineVersion ?? DEFAULT_ENGINE_VERSION,
      backupRetention: databaseOptions?.backupRetention ?? Duration.days(14),
    },
    scaling: scaling && {
      maxCount: scaling.maxCount,
      cpuUtilizationPercent: scaling.cpuUtilizationPercent ?? 60,
      requestsPerTarget: scaling.requestsPerTarget ?? 3000,
    },
    iamAuthentication: props.databaseAuthentication === DatabaseAuthentication.IAM,
    artifactPath: props.artifactPath ?? 'mlflow',
    artifactTransfer: props.artifactTransfer ?? ArtifactTransfer.DIRECT,
    artifactTiering: props.artifactTiering ?? false,
    requestLimits: { apiMiB: requestLimits?.apiMiB ?? 32, tracesMiB: requestLimits?.tracesMiB ?? 64 },
    sessionDuration: props.sessionDuration ?? Duration.hours(12),
    logRetention: props.logRetention ?? logs.RetentionDays.ONE_MONTH,
    deletionProtection: props.deletionProtection ?? true,
    removalPolicy: props.removalPolicy ?? RemovalPolicy.RETAIN,
    databaseRemovalPolicy: props.removalPolicy ?? RemovalPolicy.SNAPSHOT,
    cleanUp: cleanUp && {
      olderThan: cleanUp.olderThan,
      keepVersionsFor: cleanUp.keepVersionsFor ?? Duration.days(30),
      // In a quiet hour and once a week: the clean-up is not urgent, and each run resumes a paused database.
      schedule: cleanUp.schedule ?? scheduler.ScheduleExpression.cron({ weekDay: 'SUN', hour: '3', minute: '0' }),
    },
  };
}

function taskDefaults(props: SecureMlflowProps) {
  return {
    containerInsights: props.containerInsights ?? ecs.ContainerInsights.ENABLED,
    capacity: props.capacity ?? FargateCapacity.ON_DEMAND,
    cpu: props.cpu ?? DEFAULT_CPU,
    memoryLimitMiB: props.memoryLimitMiB ?? DEFAULT_MEMORY_MIB,
    ephemeralStorageGiB: props.ephemeralStorageGiB ?? 21,
    cpuArchitecture: props.cpuArchitecture ?? ecs.CpuArchitecture.ARM64,
    workers: props.workers ?? 2,
    desiredCount: props.desiredCount ?? 1,
    minHealthyPercent: props.minHealthyPercent ?? 0,
  };
}
