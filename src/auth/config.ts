import type { Duration } from 'aws-cdk-lib';
import type { Secret } from 'aws-cdk-lib/aws-ecs';
import type * as kms from 'aws-cdk-lib/aws-kms';

/** What `AuthProvider.bind` is told about the deployment. */
export interface AuthProviderBindOptions {
  /** The address of the server, such as `https://mlflow.example.com`. */
  readonly url: string;

  /** The address the provider sends people back to; register it there as a redirect URL, exactly. */
  readonly redirectUrl: string;

  /** Domains whose addresses may sign in: `emailDomains` of the `SecureMlflow`. */
  readonly emailDomains: string[];

  /**
   * How often the provider is asked again during a session: `sessionRefresh` of the `SecureMlflow`. It needs a refresh token, for which many
   * providers want the scope `offline_access`.
   *
   * @default - never
   */
  readonly sessionRefresh?: Duration;

  /**
   * Whether `access` of the `SecureMlflow` names groups, which sign-ins must then bring: some providers want a scope for it.
   *
   * @default false
   */
  readonly needsGroups?: boolean;

  /**
   * The key for a client secret that the provider makes. The role that starts the tasks may decrypt with it.
   *
   * @default - the key that AWS manages
   */
  readonly encryptionKey?: kms.IKey;
}

/**
 * The OAuth client with which people's tools sign in, such as `mlflow-secure-tracking login`. It is public: it has no secret, and anybody may know its id.
 */
export interface ToolsClient {
  /** The issuer, as it stands in the `iss` claim. */
  readonly issuerUrl: string;

  /** Client id. ID tokens that the issuer made for it are accepted as bearer tokens. It must stand for this server and nothing else. */
  readonly clientId: string;

  /** Scopes that the tools ask for, separated by spaces: `openid`, and what the provider gives addresses, groups and refresh tokens for. */
  readonly scope: string;
}

/** What a sign-in provider contributes to the oauth2-proxy container. */
export interface AuthProviderConfig {
  /** The OAuth client id. Tokens of the provider made for it are accepted as bearer tokens too. */
  readonly clientId: string;

  /** The OAuth client secret. Only the task's execution role may read it. */
  readonly clientSecret: Secret;

  /**
   * Settings of oauth2-proxy that name the provider, as environment variables: `OAUTH2_PROXY_PROVIDER`,
   * `OAUTH2_PROXY_OIDC_ISSUER_URL`, `OAUTH2_PROXY_SCOPE` …
   *
   * Beware: oauth2-proxy ignores names it does not know, and list settings have plural names.
   *
   * @see https://oauth2-proxy.github.io/oauth2-proxy/configuration/overview
   */
  readonly environment: { [name: string]: string };

  /**
   * Whether anybody in the world can have an account that gets in. `false` where the company makes the accounts, or groups decide.
   * With `true` `emailDomains: ['*']` brings a warning.
   *
   * @default - not known: `emailDomains: ['*']` brings a warning that says what to check
   */
  readonly openToPublic?: boolean;

  /**
   * Google alone: domains of which the claim `hd` of each person's token must be one. Tokens of machines need no such claim.
   * Not together with settings for groups.
   *
   * @default - no restriction
   */
  readonly hostedDomains?: string[];

  /**
   * Whether programs may send tokens. `false` for an issuer that signs tokens whose subjects others can choose, such as
   * those of CI jobs: oauth2-proxy would take such a subject for an address. It cannot refuse the tokens of one issuer
   * alone, so with `false` it takes none, those of `trustedTokenIssuers` and of AWS roles included.
   *
   * @default true - tokens that the provider made for the client are accepted as bearer tokens
   */
  readonly bearerTokens?: boolean;

  /**
   * Whether oauth2-proxy gets a refresh token for the scope in `environment`. `sessionRefresh` needs one, and is refused with `false`.
   *
   * @default - not known: `sessionRefresh` brings a warning that says what to check
   */
  readonly refreshTokens?: boolean;

  /**
   * Whether tokens and sign-ins name the groups of a person. Groups in `access` of the `SecureMlflow` need them, and are refused with `false`.
   *
   * @default - not known: groups in `access` bring a warning that says what to check
   */
  readonly groups?: boolean;

  /**
   * The provider's page that ends its own session, for `SecureMlflow.signOutUrl`. It may hold CDK tokens in places where a URL needs no percent-encoding: host and path.
   *
   * @default - signing out ends the session of MLflow alone
   */
  readonly signOutUrl?: string;

  /**
   * The public client with which people's tools sign in. Everybody may ask the load balancer for it, and ID tokens made for it are accepted as bearer tokens.
   *
   * @default - people's tools cannot sign in
   */
  readonly toolsClient?: ToolsClient;

  /**
   * Exact subjects of the provider's machine clients, which are let in whatever `emailDomains` says.
   *
   * @default - none
   */
  readonly machineIdentities?: string[];
}
