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

/** Where people sign in: what `AuthProvider` makes, or a provider of your own. */
export interface IAuthProvider {
  /**
   * Called once, while `SecureMlflow` is being defined.
   *
   * @param scope where to define constructs of the provider's own, such as an OAuth client. Put them under one construct that has the provider's
   *   name, because the ids of the other parts, such as `Service`, are taken
   * @param options what the provider may need to know
   */
  bind(scope: Construct, options: AuthProviderBindOptions): AuthProviderConfig;
}

/**
 * Where people sign in.
 *
 * Pick a factory. For a provider that has none, write a class that implements `IAuthProvider`: its `bind` returns the settings that
 * oauth2-proxy wants for it.
 */
export abstract class AuthProvider implements IAuthProvider {
  /**
   * Google accounts of the company's Workspace, by OpenID Connect. `emailDomains` and `hostedDomains` decide whose.
   *
   * Google's ID tokens for this client are accepted as bearer tokens; for those of the gcloud command line add
   * `TokenIssuer.gcloud()` to `trustedTokenIssuers`.
   *
   * Fails if `clientId` is empty or a hosted domain is none.
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
   * Any OpenID Connect provider: Okta, Auth0, Dex, Ping, Authentik …
   *
   * Fails if `issuerUrl` is no https URL or the issuer of a public CI system, `clientId` is empty, or a group or an audience holds a comma.
   *
   * @example
   *
   * AuthProvider.oidc({ issuerUrl: 'https://example.okta.com', clientId: '0oa1b2c3d4', clientSecret });
   */
  public static oidc(options: OidcAuthProviderOptions): AuthProvider {
    return new PlainAuthProvider(oidc(options));
  }

  /**
   * A Cognito user pool, made or brought, with clients for people and, on request, for programs. No secret has to be stored.
   *
   * The pool's ID tokens for the client are accepted as bearer tokens, and the access tokens of `machineClients`.
   *
   * Fails if the options contradict each other, or a prefix, a group or a name cannot work.
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
   * The tenant's tokens for the client are accepted as bearer tokens.
   *
   * Fails if `tenantId` is not the id of one tenant, `clientId` is empty, or a group holds a comma.
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
   * The realm's tokens whose audience holds the client are accepted as bearer tokens.
   *
   * Fails if `realmUrl` is not that of a realm, `clientId` is empty, or a group or a role holds a comma.
   *
   * @example
   *
   * AuthProvider.keycloak({ realmUrl: 'https://id.example.com/realms/ml', clientId: 'mlflow', clientSecret, allowedRoles: ['data-scientist'] });
   */
  public static keycloak(options: KeycloakAuthProviderOptions): AuthProvider {
    return new PlainAuthProvider(keycloak(options));
  }

  /**
   * GitHub accounts. Without `organization` and `teams` anybody in the world can have one, and an account on an address of the company stays with
   * a person who leaves.
   *
   * The address is the account's primary one, if verified. GitHub makes no ID tokens for people: programs need
   * `grantTrackingAccess` or `trustedTokenIssuers`.
   *
   * Fails if `clientId` is empty, or an organization, a team or the URL is malformed.
   *
   * @example
   *
   * AuthProvider.github({ clientId: 'Iv1.0123456789abcdef', clientSecret, organization: 'example', teams: ['ml'] });
   */
  public static github(options: GithubAuthProviderOptions): AuthProvider {
    return new PlainAuthProvider(github(options));
  }

  /**
   * GitLab accounts, of gitlab.com or of a GitLab of your own. Of gitlab.com anybody in the world can have one, and without `allowedGroups` and
   * `allowedProjects` an account on an address of the company stays with a person who leaves.
   *
   * No bearer token is accepted, whoever made it: GitLab signs tokens for CI jobs too, for any audience, and whoever
   * names a branch chooses a part of their subject.
   *
   * Fails if `clientId` is empty, or a group, a project or the URL is malformed.
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

/** One that defines no constructs. */
class PlainAuthProvider extends AuthProvider {
  public constructor(private readonly configure: Configure) {
    super();
  }

  public bind(_scope: Construct, options: AuthProviderBindOptions): AuthProviderConfig {
    return this.configure(options);
  }
}

/**
 * A Cognito user pool. `AuthProvider.cognito` makes it, one for each `SecureMlflow`.
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
   * The user pool, brought or made.
   *
   * Fails before a `SecureMlflow` has been made with this provider.
   */
  public get userPool(): cognito.IUserPool {
    return this.requireBound('userPool').userPool;
  }

  /**
   * What a machine client needs to ask for tokens, as JSON with the keys `tokenUrl`, `clientId`, `clientSecret` and `scope`. Grant the program to read it.
   *
   * Fails before a `SecureMlflow` has been made with this provider, or if `machineClients` does not hold the name.
   */
  public machineClientSecret(name: string): secretsmanager.ISecret {
    const secret = this.requireBound('machineClientSecret').machineSecrets.get(name);
    return secret ?? this.refuseUnknown(name);
  }

  /**
   * The id of a machine client, which is the subject of its tokens: for a list of `access`. It is a CDK token, and there before the `SecureMlflow` is.
   *
   * Fails if `machineClients` does not hold the name.
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
      throw new Error(`AuthProvider.cognito: one provider serves one SecureMlflow, and this one serves ${this.bound.path}: make another for ${scope.node.path}; to share the accounts pass \`userPool\` to it`);
    }
    this.bound = { path: scope.node.path, ...defineCognito(scope, this.options, options) };
    return this.bound.config;
  }

  private refuseUnknown(name: string): never {
    throw new Error(`AuthProvider.cognito: there is no machine client ${JSON.stringify(name)}, there are ${JSON.stringify(this.options.machineClients ?? [])}: add it to \`machineClients\``);
  }

  private requireBound(member: string): NonNullable<CognitoAuthProvider['bound']> {
    if (this.bound === undefined) {
      throw new Error(`AuthProvider.cognito: \`${member}\` is there once a SecureMlflow has been made with the provider: use it after \`new SecureMlflow(…)\``);
    }
    return this.bound;
  }
}
