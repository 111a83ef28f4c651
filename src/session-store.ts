import * as ec2 from 'aws-cdk-lib/aws-ec2';
import * as ecs from 'aws-cdk-lib/aws-ecs';
import { Construct, IDependable } from 'constructs';
import { isHost, known, noSecretOfEcs } from './checks/problems';
import { SessionCache, SessionCacheProps } from './parts/session-cache';
import { SESSION_PORT } from './settings/oauth2-proxy';

/** A Valkey or Redis server that you already have. It must accept TLS, with a certificate of a public CA, and require a password. */
export interface ExistingSessionStoreOptions {
  /**
   * The host name that its certificate is for, without scheme and port.
   *
   * One endpoint must serve all keys: that of ElastiCache Serverless, the primary endpoint of a replication group without cluster mode, a server
   * of your own. A cluster with several shards does not work, because oauth2-proxy is not configured to follow redirections between them.
   */
  readonly host: string;

  /**
   * The port for TLS, 1 to 65535.
   *
   * @default 6379
   */
  readonly port?: number;

  /**
   * The user name. The user needs GET, SET and DEL on keys that begin with `__Host-oauth2_proxy-`, with `sessionRefresh` also scripts that read and write such keys.
   *
   * @default - the user `default`: the server is asked for the password alone
   */
  readonly username?: string;

  /** The password of the user, or the AUTH token. ECS reads it when a task starts: after a change, deploy the service again. */
  readonly password: ecs.Secret;

  /**
   * The security group of the server. It gets a rule that admits the tasks on `port`, and the security group of the tasks gets the rule that goes with it.
   *
   * @default - no rule is made, and the tasks are let out to port 443 alone: call `mlflow.service.connections.allowTo(…)`, or oauth2-proxy exits at start
   */
  readonly securityGroup?: ec2.ISecurityGroup;
}

/** A session store on the server, as the task needs to know it. */
export interface SessionServer {
  readonly host: string;
  readonly port: number;
  readonly username?: string;
  readonly password: ecs.Secret;
  readonly connectable?: ec2.IConnectable;
  /** What must exist before a task starts. */
  readonly dependency?: IDependable;
}

/**
 * Where oauth2-proxy stores the sessions of people. Requests with bearer tokens have no session.
 *
 * A deployment that changes the store ends all sessions: everybody signs in again.
 *
 * @see https://oauth2-proxy.github.io/oauth2-proxy/configuration/session_storage
 */
export abstract class SessionStore {
  /**
   * In the cookie, encrypted. It costs nothing and needs no server.
   *
   * A session cannot be ended before `sessionDuration` is over: a copy of the cookie is still accepted after signing out. A session with hundreds of
   * groups is split into several cookies, and requests can become too large for the load balancer.
   */
  public static cookie(): SessionStore {
    return new CookieStore();
  }

  /**
   * In ElastiCache Serverless for Valkey, which the construct makes in the subnets of the database: TLS, a generated password, and a security group that
   * admits the tasks alone. Signing out ends the session, whoever has a copy of the cookie. The cookie has about 200 bytes, however large the session is.
   *
   * It costs about 6 USD a month in us-east-1, idle or not, and 0.40 for the secret. It stores at most 1 GB; beyond that the oldest sessions are
   * removed. While it is unreachable, people cannot use the server and no task can start; requests with bearer tokens still work.
   *
   * What it stores is encrypted with keys that only the cookies contain. `encryptionKey` encrypts it, too. There is no backup, and
   * it is deleted with the stack whatever `removalPolicy` is: people then sign in again, nothing else is lost.
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
   * In a Valkey or Redis server that you already have. Nothing is made; otherwise the same as `valkey()`.
   *
   * Several deployments may share one server: none can read or use the sessions of another.
   *
   * Fails if `host` is no host name, `port` is out of range, `username` is empty or holds blanks, or `password` is no secret.
   *
   * @example
   * const password = secretsmanager.Secret.fromSecretNameV2(this, 'StorePassword', 'valkey/password');
   * const sessionStore = SessionStore.existing({ host: 'valkey.example.com', password: ecs.Secret.fromSecretsManager(password) });
   */
  public static existing(options: ExistingSessionStoreOptions): SessionStore {
    return new ExistingStore(options);
  }

  /**
   * Returns nothing for the cookie.
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
      throw new Error(`SessionStore.existing: \`username\` must not be empty nor hold blanks, got ${JSON.stringify(username)}: leave it out for the user \`default\``);
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
