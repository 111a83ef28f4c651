import type { Duration } from 'aws-cdk-lib';
import type { Secret } from 'aws-cdk-lib/aws-ecs';
import type * as kms from 'aws-cdk-lib/aws-kms';

/** Properties of the deployment that are passed to `IAuthProvider.bind`. */
export interface AuthProviderBindOptions {
  /** The URL of the server, such as `https://mlflow.example.com`. */
  readonly url: string;

  /** The URL to which the provider sends people back. Register exactly this redirect URL at the provider. */
  readonly redirectUrl: string;

  /** E-mail domains that may sign in: `emailDomains` of the `SecureMlflow`. */
  readonly emailDomains: string[];

  /**
   * How often a session is refreshed at the provider: `sessionRefresh` of the `SecureMlflow`. It requires a refresh token, which many providers issue only for
   * the scope `offline_access`.
   *
   * @default - sessions are not refreshed
   */
  readonly sessionRefresh?: Duration;

  /**
   * Whether `access` of the `SecureMlflow` names groups. If so, sign-ins must contain the groups of a person, for which some providers require a scope.
   *
   * @default false
   */
  readonly needsGroups?: boolean;

  /**
   * The KMS key for a client secret that the provider creates. The execution role of the tasks may decrypt with it.
   *
   * @default - the key that AWS manages for Secrets Manager
   */
  readonly encryptionKey?: kms.IKey;
}

/**
 * The OAuth client with which people's tools, such as `mlflow-secure-tracking login`, sign in. It is a public client: it has no secret, and its id is not confidential.
 */
export interface ToolsClient {
  /** The issuer, exactly as in the `iss` claim. */
  readonly issuerUrl: string;

  /** Client id. ID tokens of the issuer for this client are accepted as bearer tokens. Use the client only for this server. */
  readonly clientId: string;

  /** Scopes that the tools request, separated by spaces: `openid`, and the scopes for which the provider issues addresses, groups and refresh tokens. */
  readonly scope: string;
}

/** Settings of a sign-in provider for the deployment, mostly for the container `oauth2-proxy`. */
export interface AuthProviderConfig {
  /** The OAuth client id. Signed tokens of the provider for this client are also accepted as bearer tokens. */
  readonly clientId: string;

  /** The OAuth client secret. Only the task's execution role may read it. */
  readonly clientSecret: Secret;

  /**
   * Settings of oauth2-proxy for the provider, as environment variables, such as `OAUTH2_PROXY_PROVIDER`, `OAUTH2_PROXY_OIDC_ISSUER_URL` and
   * `OAUTH2_PROXY_SCOPE`.
   *
   * Warning: oauth2-proxy ignores unknown names, and settings that are lists have plural names.
   *
   * @see https://oauth2-proxy.github.io/oauth2-proxy/configuration/overview
   */
  readonly environment: { [name: string]: string };

  /**
   * Whether anyone in the world can have an account that gets in. Return `false` if your company creates the accounts, or if groups decide.
   * With `true`, synthesis warns about `emailDomains: ['*']`.
   *
   * @default - not known: synthesis warns about `emailDomains: ['*']` and says what to check
   */
  readonly openToPublic?: boolean;

  /**
   * For Google only: allowed values of the claim `hd` in the ID token of a person. Bearer tokens of machines need no such claim. Not together with
   * settings for groups.
   *
   * @default - no restriction
   */
  readonly hostedDomains?: string[];

  /**
   * Whether programs may send bearer tokens. Return `false` for an issuer that signs tokens whose subjects strangers can choose, such as those of CI jobs:
   * oauth2-proxy accepts such a subject as an e-mail address. It cannot reject the bearer tokens of one issuer only, so with `false` it accepts none,
   * including those of `trustedTokenIssuers` and AWS roles.
   *
   * @default true - signed tokens of the provider for the client are accepted as bearer tokens
   */
  readonly bearerTokens?: boolean;

  /**
   * Whether oauth2-proxy gets a refresh token with the scope in `environment`. `sessionRefresh` requires one, and is refused with `false`.
   *
   * @default - not known: synthesis warns about `sessionRefresh` and says what to check
   */
  readonly refreshTokens?: boolean;

  /**
   * Whether sign-ins and bearer tokens contain the groups of a person. Groups in `access` of the `SecureMlflow` require them, and are refused with `false`.
   *
   * @default - not known: synthesis warns about groups in `access` and says what to check
   */
  readonly groups?: boolean;

  /**
   * The provider's page that ends its own session, for `SecureMlflow.signOutUrl`. It may contain CDK tokens, but only where a URL needs no percent-encoding (host, path).
   *
   * @default - signing out ends only the session of the server
   */
  readonly signOutUrl?: string;

  /**
   * The public client with which people's tools sign in. The load balancer returns it without a sign-in. ID tokens for this client are accepted as bearer tokens.
   *
   * @default - people's tools cannot sign in
   */
  readonly toolsClient?: ToolsClient;

  /**
   * Exact subjects of the provider's machine clients, which are accepted regardless of `emailDomains`.
   *
   * @default - none
   */
  readonly machineIdentities?: string[];
}
