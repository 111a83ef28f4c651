import { Token } from 'aws-cdk-lib';
import type { AuroraPostgresEngineVersion } from 'aws-cdk-lib/aws-rds';
import { known, show, wholeDaysProblems } from './problems';
import { DEFAULT_ENGINE_VERSION, Settings } from '../defaults';
import { databaseParameters } from '../settings/database';

/** Problems of `databaseOptions`: they must not change what the construct promises about its database. */
export function databaseOptionsProblems(region: string, settings: Settings): string[] {
  const { engineVersion, parameters, backupRetention, snapshotIdentifier } = settings.databaseOptions;
  return [
    ...engineVersionProblems(engineVersion),
    ...parameterProblems(parameters, settings.databaseCapacity.minAcus),
    ...wholeDaysProblems('databaseOptions.backupRetention', backupRetention, 'for a longer time use AWS Backup or manual snapshots', 35),
    ...snapshotProblems(region, snapshotIdentifier),
  ];
}

const { auroraPostgresFullVersion: LEAST, auroraPostgresMajorVersion: MAJOR } = DEFAULT_ENGINE_VERSION;

function engineVersionProblems({ auroraPostgresFullVersion: version, auroraPostgresMajorVersion: family }: AuroraPostgresEngineVersion): string[] {
  const [, major, minor] = /^(\d+)\.(\d+)(\.\d+)?$/.exec(version) ?? [];
  if (known(family) && family !== MAJOR && major === MAJOR) {
    return [`\`databaseOptions.engineVersion\` must have the major version ${MAJOR}, got ${show(version)} with ${show(family)}: its parameter group would have another version; use \`AuroraPostgresEngineVersion.of('${version}', '${MAJOR}')\``];
  }
  return !known(version) || (major === MAJOR && Number(minor) >= Number(LEAST.split('.')[1])) ? []
    : [`\`databaseOptions.engineVersion\` must be ${LEAST} or newer of major version ${MAJOR}, got ${show(version)}: other versions are not tested, and RDS does not go back to an older one; leave it out, or use a newer one`];
}

function parameterProblems(parameters: Record<string, string> = {}, minAcus: number): string[] {
  if (Token.isUnresolved(parameters)) {
    return ['`databaseOptions.parameters` must be known at synthesis, got a CDK token: it could contain names that the construct sets; write them out'];
  }
  const problems = [
    ...Object.entries(databaseParameters).filter(([name]) => name in parameters)
      .map(([name, value]) => `\`databaseOptions.parameters\` must not contain ${name}, which the construct sets to ${value}: leave it out`),
    ...Object.keys(parameters).filter(name => !/^[a-z][a-z0-9_.]*$/.test(name))
      .map(name => `\`databaseOptions.parameters\`: each name must be the name of a parameter in lower case such as "log_min_duration_statement", got ${show(name)}: see \`aws rds describe-engine-default-cluster-parameters\``),
  ];
  const replication = parameters['rds.logical_replication'];
  if (minAcus === 0 && known(replication) && replication !== '0') { // https://docs.aws.amazon.com/AmazonRDS/latest/AuroraUserGuide/aurora-serverless-v2-auto-pause.html
    problems.push(`\`databaseOptions.parameters\` must not turn on rds.logical_replication where \`databaseCapacity.minAcus\` is 0, got ${show(replication)}: a database with replication never pauses; raise \`minAcus\`, or leave the parameter out`);
  }
  return problems;
}

function snapshotProblems(region: string, snapshot?: string): string[] {
  if (!known(snapshot)) {
    return [];
  }
  const [, place] = /^arn:aws[a-z-]*:rds:([a-z0-9-]+):\d{12}:(?:cluster-)?snapshot:\S+$/.exec(snapshot) ?? [];
  if (place === undefined && !/^(rds:|awsbackup:)?[A-Za-z][A-Za-z0-9-]*$/.test(snapshot)) {
    return [`\`databaseOptions.snapshotIdentifier\` must be the name or the ARN of a snapshot, got ${show(snapshot)}: \`aws rds describe-db-cluster-snapshots\` lists them`];
  }
  return place === undefined || !known(region) || place === region ? []
    : [`\`databaseOptions.snapshotIdentifier\` must be in the region of the stack, ${region}, got ${show(snapshot)}: copy it with \`aws rds copy-db-cluster-snapshot\``];
}
