import * as ec2 from 'aws-cdk-lib/aws-ec2';
import * as ecs from 'aws-cdk-lib/aws-ecs';
import { Construct, IDependable } from 'constructs';
import { isHost, known, noSecretOfEcs } from './checks/problems';
import { SessionCache, SessionCacheProps } from './parts/session-cache';
import { SESSION_PORT } from './settings/oauth2-proxy';

/** Options for a Valkey or Redis server that you already have. It must accept TLS with a certificate of a public CA, and require a password. */
export interface ExistingSessionStoreOptions {
  /**
   * The host name, as in the certificate of the server, without scheme and port.
   *
   * One endpoint must serve all keys: an ElastiCache Serverless endpoint, the primary endpoint of a replication group without cluster mode, or a server that
   * you run. A cluster with several shards does not work, because oauth2-proxy is not configured to follow redirects between shards.
   */
  readonly host: string;

  /**
   * The TLS port, 1 to 65535.
   *
   * @default 6379
   */
  readonly port?: number;

  /**
   * The user name. The user needs GET, SET and DEL on keys that begin with `__Host-oauth2_proxy-`. With `sessionRefresh` it must also be allowed to run scripts that
   * read and write such keys.
   *
   * @default - the user `default`: oauth2-proxy sends only the password
   */
  readonly username?: string;

  /** The password of the user, or the AUTH token of ElastiCache. ECS reads it when a task starts: after a change, deploy the service again. */
  readonly password: ecs.Secret;

  /**
   * The security group of the server. It gets an inbound rule for the tasks on `port`, and the security group of the tasks gets the matching outbound rule.
   *
   * @default - no rule is created, and the tasks can reach port 443 only: call `mlflow.service.connections.allowTo(…)`, or oauth2-proxy exits at start
   */
  readonly securityGroup?: ec2.ISecurityGroup;
}

/** What the task needs to know about a session store on a server. */
export interface SessionServer {
  readonly host: string;
  readonly port: number;
  readonly username?: string;
  readonly password: ecs.Secret;
  readonly connectable?: ec2.IConnectable;
  /** A construct that must exist before a task starts. */
  readonly dependency?: IDependable;
}

/**
 * Where oauth2-proxy stores the sessions of people. Requests with bearer tokens have no session.
 *
 * A deployment that changes the session store ends all sessions: everybody has to sign in again.
 *
 * @see https://oauth2-proxy.github.io/oauth2-proxy/configuration/session_storage
 */
export abstract class SessionStore {
  /**
   * Stores the sessions in the cookie, encrypted. This is free and needs no server.
   *
   * A session cannot be revoked before `sessionDuration` ends: a copy of the cookie is still accepted after signing out. A session with hundreds of groups
   * is split into several cookies, and requests can become too large for the load balancer.
   */
  public static cookie(): SessionStore {
    return new CookieStore();
  }

  /**
   * Stores the sessions in ElastiCache Serverless for Valkey, which the construct creates in the subnets of the database. It has TLS, a generated password,
   * and a security group that allows only the tasks. Signing out ends the session for every copy of the cookie. The cookie has about 200 bytes, regardless
   * of the size of the session.
   *
   * It costs about 6 USD a month in us-east-1, even when it is idle, and 0.40 USD for the secret. It stores at most 1 GB; then the oldest sessions are
   * removed. While it is unreachable, people cannot use the server and no task can start. Requests with bearer tokens still work.
   *
   * Each session is encrypted with a key that only its cookie contains. `encryptionKey` also encrypts the store. There is no backup. The store
   * is deleted with the stack, regardless of `removalPolicy`: people then have to sign in again, and no other data are lost.
   *
   * @see https://docs.aws.amazon.com/AmazonElastiCache/latest/dg/WhatIs.html
   * @example
   * new SecureMlflow(this, 'Mlflow', {
   *   domainName: 'mlflow.example.com',
   *   hostedZone: zone,
   *   authProvider,
   *   emailDomains: ['example.com'],
   *   sessionStore: SessionStore.valkey(),
   * });
   */
  public static valkey(): SessionStore {
    return new ValkeyStore();
  }

  /**
   * Stores the sessions in a Valkey or Redis server that you already have. The construct creates no store. Signing out works as with `valkey()`.
   *
   * Several deployments may share one server: a deployment cannot read or use the sessions of another.
   *
   * Fails if `host` is not a host name, `port` is out of range, `username` is empty or contains blanks, or `password` is not an `ecs.Secret`.
   *
   * @example
   * const password = secretsmanager.Secret.fromSecretNameV2(this, 'StorePassword', 'valkey/password');
   * const sessionStore = SessionStore.existing({ host: 'valkey.example.com', password: ecs.Secret.fromSecretsManager(password) });
   */
  public static existing(options: ExistingSessionStoreOptions): SessionStore {
    return new ExistingStore(options);
  }

  /**
   * Returns undefined for sessions in the cookie.
   *
   * @internal
   */
  public abstract _bind(scope: Construct, props: SessionCacheProps): SessionServer | undefined;
}

class CookieStore extends SessionStore {
  /** @internal */
  public _bind(): undefined {
    return undefined;
  }
}

class ValkeyStore extends SessionStore {
  /** @internal */
  public _bind(scope: Construct, props: SessionCacheProps): SessionServer {
    const cache = new SessionCache(scope, 'Sessions', props);
    const { host, username, password } = cache;
    return { host, port: SESSION_PORT, username, password: ecs.Secret.fromSecretsManager(password), connectable: cache, dependency: cache };
  }
}

class ExistingStore extends SessionStore {
  public constructor(private readonly options: ExistingSessionStoreOptions) {
    super();
    const { host, port, username, password } = options;
    const wrongValue = noSecretOfEcs(password);
    if (known(host) && !isHost(host)) {
      throw new Error(`SessionStore.existing: \`host\` must be a host name in lower case or an IPv4 address, got ${JSON.stringify(host)}: leave out scheme, port and password`);
    }
    if (known(port) && !(Number.isInteger(port) && port >= 1 && port <= 65535)) {
      throw new Error(`SessionStore.existing: \`port\` must be a whole number, 1 to 65535, got ${JSON.stringify(port)}`);
    }
    if (known(username) && !/^\S+$/.test(username)) {
      throw new Error(`SessionStore.existing: \`username\` must not be empty or contain blanks, got ${JSON.stringify(username)}: leave it out for the user \`default\``);
    }
    if (wrongValue !== undefined) {
      throw new Error(`SessionStore.existing: \`password\` ${wrongValue}`);
    }
  }

  /** @internal */
  public _bind(): SessionServer {
    const { host, port, username, password, securityGroup } = this.options;
    return {
      host,
      port: port ?? SESSION_PORT,
      ...(username !== undefined && { username }),
      password,
      ...(securityGroup && { connectable: securityGroup }),
    };
  }
}
