import { Lazy } from 'aws-cdk-lib';
import type * as cognito from 'aws-cdk-lib/aws-cognito';
import type * as secretsmanager from 'aws-cdk-lib/aws-secretsmanager';
import type { Construct } from 'constructs';
import { checkCognito, Cognito, CognitoAuthProviderOptions, defineCognito } from './cognito';
import type { AuthProviderBindOptions, AuthProviderConfig } from './config';
import { entraId, EntraIdAuthProviderOptions } from './entra-id';
import { github, GithubAuthProviderOptions } from './github';
import { gitlab, GitlabAuthProviderOptions } from './gitlab';
import { google, GoogleAuthProviderOptions } from './google';
import { keycloak, KeycloakAuthProviderOptions } from './keycloak';
import { oidc, OidcAuthProviderOptions } from './oidc';
import type { Configure } from './rules';

/** A sign-in provider: one that `AuthProvider` creates, or your own. */
export interface IAuthProvider {
  /**
   * Defines the constructs of the provider and returns its settings. It is called once, while the `SecureMlflow` is being defined.
   *
   * @param scope the scope for constructs of the provider, such as an OAuth client. Put them under one construct that has the provider's name, because ids
   *   such as `Service` are already used
   * @param options properties of the deployment that the provider may need
   */
  bind(scope: Construct, options: AuthProviderBindOptions): AuthProviderConfig;
}

/**
 * The sign-in provider.
 *
 * Use one of the factories. For a provider without a factory, write a class that implements `IAuthProvider`. Its `bind` returns the settings of
 * oauth2-proxy for the provider.
 */
export abstract class AuthProvider implements IAuthProvider {
  /**
   * Google accounts of your company's Workspace, with OpenID Connect. `emailDomains` and `hostedDomains` decide which accounts are allowed.
   *
   * Google's ID tokens for this client are accepted as bearer tokens. To accept ID tokens of the gcloud command line, add `TokenIssuer.gcloud()` to
   * `trustedTokenIssuers`.
   *
   * Fails if `clientId` is empty, or `hostedDomains` is empty or contains an entry that is not a domain.
   *
   * @example
   *
   * AuthProvider.google({
   *   clientId: '1234.apps.googleusercontent.com',
   *   clientSecret: ecs.Secret.fromSecretsManager(secretsmanager.Secret.fromSecretNameV2(this, 'OAuth', 'mlflow/oauth'), 'clientSecret'),
   * });
   */
  public static google(options: GoogleAuthProviderOptions): AuthProvider {
    return new PlainAuthProvider(google(options));
  }

  /**
   * Any OpenID Connect provider, such as Okta, Auth0, Dex, Ping or Authentik.
   *
   * Fails if `issuerUrl` is not an https URL, or is the issuer of a GitLab or a public CI system. It also fails if `clientId` is empty, a group or an audience
   * contains a comma, or `toolsClientId` cannot work.
   *
   * @example
   *
   * AuthProvider.oidc({ issuerUrl: 'https://example.okta.com', clientId: '0oa1b2c3d4', clientSecret });
   */
  public static oidc(options: OidcAuthProviderOptions): AuthProvider {
    return new PlainAuthProvider(oidc(options));
  }

  /**
   * A Cognito user pool, new or existing. The construct creates OAuth clients for people and, if you name any, for programs. You do not have to store a secret.
   *
   * The pool's ID tokens for the client of people, and access tokens of the `machineClients`, are accepted as bearer tokens.
   *
   * Fails if options contradict each other, or if a prefix, a group or a name is invalid.
   *
   * @example
   *
   * const provider = AuthProvider.cognito({ machineClients: ['ci'] });
   */
  public static cognito(options: CognitoAuthProviderOptions = {}): CognitoAuthProvider {
    return CognitoAuthProvider._of(options);
  }

  /**
   * Accounts of one tenant of Microsoft Entra ID, guests included.
   *
   * ID tokens and access tokens (v2.0) of the tenant for the client are accepted as bearer tokens.
   *
   * Fails if `tenantId` is not the id of one tenant, `clientId` is empty, a group contains a comma, or `toolsClientId` cannot work.
   *
   * @example
   *
   * AuthProvider.entraId({ tenantId: '00000000-0000-0000-0000-000000000000', clientId: '11111111-1111-1111-1111-111111111111', clientSecret });
   */
  public static entraId(options: EntraIdAuthProviderOptions): AuthProvider {
    return new PlainAuthProvider(entraId(options));
  }

  /**
   * A realm of Keycloak.
   *
   * The realm's tokens are accepted as bearer tokens if their audience contains the client.
   *
   * Fails if `realmUrl` is not the URL of a realm, `clientId` is empty, a group or a role contains a comma, or `toolsClientId` cannot work.
   *
   * @example
   *
   * AuthProvider.keycloak({ realmUrl: 'https://id.example.com/realms/ml', clientId: 'mlflow', clientSecret, allowedRoles: ['data-scientist'] });
   */
  public static keycloak(options: KeycloakAuthProviderOptions): AuthProvider {
    return new PlainAuthProvider(keycloak(options));
  }

  /**
   * GitHub accounts. Set `organization` or `teams`: anyone in the world can have a GitHub account, and people who leave your company keep an account that has
   * their company address.
   *
   * The address is the account's primary address, if it is verified. GitHub issues no ID tokens for people: programs need `grantTrackingAccess` or
   * `trustedTokenIssuers`.
   *
   * Fails if `clientId` is empty, or if the organization, a team or `enterpriseUrl` is malformed.
   *
   * @example
   *
   * AuthProvider.github({ clientId: 'Iv1.0123456789abcdef', clientSecret, organization: 'example', teams: ['ml'] });
   */
  public static github(options: GithubAuthProviderOptions): AuthProvider {
    return new PlainAuthProvider(github(options));
  }

  /**
   * GitLab accounts, of gitlab.com or of your own GitLab. With gitlab.com set `allowedGroups` or `allowedProjects`: anyone in the world can have an account,
   * and people who leave your company keep an account that has their company address.
   *
   * No bearer tokens are accepted, of any issuer. GitLab also signs ID tokens for CI jobs, for any audience, and a person who names a branch chooses a part of
   * their subject.
   *
   * Fails if `clientId` is empty, or if a group, a project or `baseUrl` is malformed.
   *
   * @example
   *
   * AuthProvider.gitlab({ clientId: '0123456789abcdef', clientSecret, baseUrl: 'https://gitlab.example.com', allowedGroups: ['ml'] });
   */
  public static gitlab(options: GitlabAuthProviderOptions): AuthProvider {
    return new PlainAuthProvider(gitlab(options));
  }

  public abstract bind(scope: Construct, options: AuthProviderBindOptions): AuthProviderConfig;
}

/** A provider that defines no constructs. */
class PlainAuthProvider extends AuthProvider {
  public constructor(private readonly configure: Configure) {
    super();
  }

  public bind(_scope: Construct, options: AuthProviderBindOptions): AuthProviderConfig {
    return this.configure(options);
  }
}

/**
 * A Cognito user pool as the sign-in provider, created by `AuthProvider.cognito`. Each `SecureMlflow` needs its own.
 */
export class CognitoAuthProvider implements IAuthProvider {
  /** @internal */
  public static _of(options: CognitoAuthProviderOptions): CognitoAuthProvider {
    checkCognito(options);
    return new CognitoAuthProvider(options);
  }

  private bound?: Cognito & { readonly path: string };

  private constructor(private readonly options: CognitoAuthProviderOptions) {}

  /**
   * The user pool: the one that you passed, or the new one.
   *
   * Fails if it is read before a `SecureMlflow` has been created with this provider.
   */
  public get userPool(): cognito.IUserPool {
    return this.requireBound('userPool').userPool;
  }

  /**
   * The secret with which a machine client requests access tokens: JSON with the keys `tokenUrl`, `clientId`, `clientSecret` and `scope`. Grant the program to read it.
   *
   * Fails if it is called before a `SecureMlflow` has been created with this provider, or if `machineClients` does not contain the name.
   */
  public machineClientSecret(name: string): secretsmanager.ISecret {
    const secret = this.requireBound('machineClientSecret').machineSecrets.get(name);
    return secret ?? this.refuseUnknown(name);
  }

  /**
   * The id of a machine client, for a list of `access`. It is the subject of the client's access tokens. It is a CDK token, so you can use it before you create
   * the `SecureMlflow`.
   *
   * Fails if `machineClients` does not contain the name.
   *
   * @example
   *
   * const provider = AuthProvider.cognito({ machineClients: ['dashboard'] });
   * const access: AccessOptions = { admins: { groups: ['ml-admins'] }, readers: { machines: [provider.machineClientId('dashboard')] } };
   */
  public machineClientId(name: string): string {
    if (this.options.machineClients?.includes(name) !== true) {
      this.refuseUnknown(name);
    }
    return Lazy.string({ produce: () => this.requireBound('machineClientId').machineIds.get(name) });
  }

  public bind(scope: Construct, options: AuthProviderBindOptions): AuthProviderConfig {
    if (this.bound !== undefined) {
      throw new Error(`AuthProvider.cognito: one provider must be used for one SecureMlflow, got ${scope.node.path} for the provider of ${this.bound.path}: create another provider; to share the accounts pass \`userPool\` to it`);
    }
    this.bound = { path: scope.node.path, ...defineCognito(scope, this.options, options) };
    return this.bound.config;
  }

  private refuseUnknown(name: string): never {
    throw new Error(`AuthProvider.cognito: the name of a machine client must be one of ${JSON.stringify(this.options.machineClients ?? [])}, got ${JSON.stringify(name)}: add it to \`machineClients\``);
  }

  private requireBound(member: string): NonNullable<CognitoAuthProvider['bound']> {
    if (this.bound === undefined) {
      throw new Error(`AuthProvider.cognito: \`${member}\` must be used after a SecureMlflow has been created with the provider, got a call before: move it after \`new SecureMlflow(…)\``);
    }
    return this.bound;
  }
}
