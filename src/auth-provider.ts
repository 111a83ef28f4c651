import { Fn, RemovalPolicy, SecretValue, Stack, Token } from 'aws-cdk-lib';
import * as cognito from 'aws-cdk-lib/aws-cognito';
import { Secret } from 'aws-cdk-lib/aws-ecs';
import * as kms from 'aws-cdk-lib/aws-kms';
import * as secretsmanager from 'aws-cdk-lib/aws-secretsmanager';
import { Construct } from 'constructs';
import { allowList } from './private/allow-list';
import { isGitlab, isOpenIssuer, refusePublicIssuer } from './private/public-issuers';
import { DOMAIN } from './private/validation';

/** What `AuthProvider.bind` is told about the deployment. */
export interface AuthProviderBindOptions {
  /** The address of the server, such as `https://mlflow.example.com`. */
  readonly url: string;

  /** The address the provider sends people back to; register it there as a redirect URL, exactly. */
  readonly redirectUrl: string;

  /** Domains whose addresses may sign in: `emailDomains` of the `SecureMlflow`. */
  readonly emailDomains: string[];

  /**
   * The key for a client secret that the provider makes. The role that starts the tasks may decrypt with it.
   *
   * @default - the key that AWS manages
   */
  readonly encryptionKey?: kms.IKey;
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
   * The provider's page that ends its own session, for `SecureMlflow.signOutUrl`. It may hold tokens in places where an address needs no escaping.
   *
   * @default - signing out ends the session of MLflow alone
   */
  readonly signOutUrl?: string;

  /**
   * Exact subjects of the provider's machine clients, which are let in whatever `emailDomains` says.
   *
   * @default - none
   */
  readonly machineIdentities?: string[];
}

/** The OAuth client of `AuthProvider.google`, and whose accounts may enter. */
export interface GoogleAuthProviderOptions {
  /** Client id from the Google Cloud console, `….apps.googleusercontent.com`. */
  readonly clientId: string;

  /** Client secret: `ecs.Secret.fromSecretsManager(…)`, or `ecs.Secret.fromSsmParameter(…)` for a SecureString. */
  readonly clientSecret: Secret;

  /**
   * Domains of the company's Google Workspace or Cloud Identity: an account must belong to one of them (the claim `hd` of its tokens).
   *
   * Google also has accounts that people make by themselves on an address of the company. They are verified once and stay with people who leave.
   * `['*']` lets them in. What is asked for here holds for the tokens of `TokenIssuer.gcloud()` as well, and for no machine.
   *
   * @default - `emailDomains`; where that is `['*']`, every Google account
   * @see https://developers.google.com/identity/openid-connect/openid-connect#id_token-hd
   */
  readonly hostedDomains?: string[];
}

/** The issuer and OAuth client of `AuthProvider.oidc`. */
export interface OidcAuthProviderOptions {
  /**
   * The issuer, as it stands in the `iss` claim, final slash included where there is one.
   *
   * `<issuerUrl>/.well-known/openid-configuration` must be reachable from the tasks when they start.
   */
  readonly issuerUrl: string;

  /** Client id. */
  readonly clientId: string;

  /** Client secret: `ecs.Secret.fromSecretsManager(…)`, or `ecs.Secret.fromSsmParameter(…)` for a SecureString. */
  readonly clientSecret: Secret;

  /**
   * Scopes to ask for, separated by spaces. Some providers want one more for group claims or refresh tokens.
   *
   * @default 'openid email profile'
   */
  readonly scope?: string;

  /**
   * Claim that holds the address which `emailDomains` is compared with.
   *
   * Warning: oauth2-proxy checks that an address is verified (`email_verified`) only in the claim `email`. Name another only where people can neither
   * choose nor change its value. Where `emailDomains` alone decides who gets in, synthesis warns.
   *
   * @default 'email'
   */
  readonly emailClaim?: string;

  /**
   * Claim that holds the groups of a person.
   *
   * @default 'groups'
   */
  readonly groupsClaim?: string;

  /**
   * Groups that may enter; one of them is enough. They narrow `emailDomains`, they do not replace it, and
   * they hold for bearer tokens as well: a token without groups is refused.
   *
   * @default - every group
   */
  readonly allowedGroups?: string[];

  /**
   * Audiences, beside the client id, for which tokens of this issuer are accepted as bearer tokens. oauth2-proxy accepts
   * them from every trusted issuer.
   *
   * @default - tokens made for the client id alone
   */
  readonly extraAudiences?: string[];
}

/** The user pool and clients of `AuthProvider.cognito`. */
export interface CognitoAuthProviderOptions {
  /**
   * User pool with the accounts, of the account and region of the stack. It gets a client and, without `userPoolDomain`, a domain; nothing else of it is changed.
   *
   * @default - a new one without self sign-up, which stays when the stack is deleted
   */
  readonly userPool?: cognito.IUserPool;

  /**
   * Domain that `userPool` has already. A pool has one for prefixes: where it is taken, a second one fails to deploy.
   *
   * @default - a new one, with `domainPrefix`
   */
  readonly userPoolDomain?: cognito.IUserPoolDomain;

  /**
   * What the address of the sign-in page begins with: `https://<domainPrefix>.auth.<region>.amazoncognito.com`. Nobody else in the region may have it.
   *
   * @default - the domain name of the server with dashes for dots, such as `mlflow-example-com`
   */
  readonly domainPrefix?: string;

  /**
   * Where people of the pool may sign in. Name them for a pool that passes people on to the company's own provider.
   *
   * @default - accounts of the pool, and the identity providers that this app has added to it
   */
  readonly identityProviders?: cognito.UserPoolClientIdentityProvider[];

  /**
   * Groups of the pool that may enter; one of them is enough. They narrow `emailDomains`, they do not replace it. Not together with `machineClients`.
   *
   * @default - everybody in the pool
   */
  readonly allowedGroups?: string[];

  /**
   * Names of programs, such as `training`. Each gets an OAuth client for the client-credentials flow and a secret with what it needs to ask for tokens: `machineClientSecret(name)`.
   *
   * @default - none
   */
  readonly machineClients?: string[];
}

/** The tenant and OAuth client of `AuthProvider.entraId`. */
export interface EntraIdAuthProviderOptions {
  /** The directory (tenant) id, a GUID in lower case. */
  readonly tenantId: string;

  /** The application (client) id. */
  readonly clientId: string;

  /** The value (not the id) of a client secret: `ecs.Secret.fromSecretsManager(…)`, or `ecs.Secret.fromSsmParameter(…)` for a SecureString. */
  readonly clientSecret: Secret;

  /**
   * Claim that holds the address which `emailDomains` is compared with. `email` is missing where an account has no mailbox; `preferred_username` is always there.
   *
   * Entra ID marks neither as verified. Administrators of the tenant set them for its members; a guest brings the name of another directory.
   *
   * @default 'email'
   * @see https://learn.microsoft.com/entra/identity-platform/id-token-claims-reference
   */
  readonly emailClaim?: string;

  /**
   * Object ids of groups that may enter; one of them is enough. They narrow `emailDomains`, they do not replace it.
   * The app registration has to put groups into its tokens.
   *
   * @default - everybody in the tenant whom the application is open to
   */
  readonly allowedGroups?: string[];
}

/** The realm and OAuth client of `AuthProvider.keycloak`. */
export interface KeycloakAuthProviderOptions {
  /** The realm, `https://<host>/realms/<name>`. It must be reachable from the tasks when they start. */
  readonly realmUrl: string;

  /** Client id. */
  readonly clientId: string;

  /** Client secret: `ecs.Secret.fromSecretsManager(…)`, or `ecs.Secret.fromSsmParameter(…)` for a SecureString. */
  readonly clientSecret: Secret;

  /**
   * Groups that may enter, as the claim `groups` spells them: `/ml-team` where the mapper writes full paths.
   * One of the groups and roles is enough. They narrow `emailDomains`, they do not replace it.
   *
   * @default - no restriction by group
   */
  readonly allowedGroups?: string[];

  /**
   * Roles that may enter: `name` for one of the realm, `client:name` for one of a client.
   * One of the groups and roles is enough. They narrow `emailDomains`, they do not replace it.
   *
   * @default - no restriction by role
   */
  readonly allowedRoles?: string[];
}

/** The OAuth app of `AuthProvider.github`, and who of GitHub may enter. */
export interface GithubAuthProviderOptions {
  /** Client id of the OAuth app. */
  readonly clientId: string;

  /** Client secret: `ecs.Secret.fromSecretsManager(…)`, or `ecs.Secret.fromSsmParameter(…)` for a SecureString. */
  readonly clientSecret: Secret;

  /**
   * Organization whose members may enter, spelt as GitHub shows it: upper and lower case count. It narrows `emailDomains`, it does not replace it.
   *
   * @default - no restriction by organization
   */
  readonly organization?: string;

  /**
   * Teams whose members may enter; one of them is enough. Their slugs with `organization`, `organization:slug` without.
   *
   * @default - no restriction by team
   */
  readonly teams?: string[];

  /**
   * GitHub Enterprise Server, such as `https://github.example.com`.
   *
   * @default - github.com
   */
  readonly enterpriseUrl?: string;
}

/** The application of `AuthProvider.gitlab`, and who of GitLab may enter. */
export interface GitlabAuthProviderOptions {
  /** Application id. */
  readonly clientId: string;

  /** Secret of the application: `ecs.Secret.fromSecretsManager(…)`, or `ecs.Secret.fromSsmParameter(…)` for a SecureString. */
  readonly clientSecret: Secret;

  /**
   * A GitLab of your own, at the root of its host, such as `https://gitlab.example.com`.
   *
   * @default 'https://gitlab.com'
   */
  readonly baseUrl?: string;

  /**
   * Groups whose members may enter, by their full path. One of the groups and projects is enough. They narrow `emailDomains`, they do not replace it.
   *
   * @default - no restriction by group
   */
  readonly allowedGroups?: string[];

  /**
   * Projects whose members may enter, by their full path; reporters and above, or `path=30` for another
   * [access level](https://docs.gitlab.com/api/members/#roles) out of 10, 20, 30 and 40.
   * One of the groups and projects is enough. They narrow `emailDomains`, they do not replace it.
   *
   * @default - no restriction by project
   */
  readonly allowedProjects?: string[];
}

/**
 * Where people sign in.
 *
 * Pick a factory. For a provider that has none, extend this class: `bind` returns the settings that
 * oauth2-proxy wants for it.
 */
export abstract class AuthProvider {
  /**
   * Google accounts of the company's Workspace, by OpenID Connect. `emailDomains` and `hostedDomains` decide whose.
   *
   * Google's ID tokens for this client are accepted as bearer tokens; for those of the gcloud command line add
   * `TokenIssuer.gcloud()` to `trustedTokenIssuers`.
   *
   * @throws if `clientId` is empty or a hosted domain is none
   */
  public static google(options: GoogleAuthProviderOptions): AuthProvider {
    return new GoogleAuthProvider(options);
  }

  /**
   * Any OpenID Connect provider: Okta, Auth0, Dex, Ping, Authentik …
   *
   * @throws if `issuerUrl` is no https URL or the issuer of a public CI system, `clientId` is empty, or a group or an audience holds a comma
   */
  public static oidc(options: OidcAuthProviderOptions): AuthProvider {
    return new OidcAuthProvider(options);
  }

  /**
   * A Cognito user pool, made or brought, with clients for people and, on request, for programs. No secret has to be stored.
   *
   * The pool's ID tokens for the client are accepted as bearer tokens, and the access tokens of `machineClients`.
   *
   * @throws if the options contradict each other, or a prefix, a group or a name cannot work
   */
  public static cognito(options: CognitoAuthProviderOptions = {}): CognitoAuthProvider {
    return new CognitoAuthProvider(options);
  }

  /**
   * Accounts of one tenant of Microsoft Entra ID, guests included.
   *
   * The tenant's tokens for the client are accepted as bearer tokens.
   *
   * @throws if `tenantId` is not the id of one tenant, `clientId` is empty, or a group holds a comma
   */
  public static entraId(options: EntraIdAuthProviderOptions): AuthProvider {
    return new EntraIdAuthProvider(options);
  }

  /**
   * A realm of Keycloak.
   *
   * The realm's tokens whose audience holds the client are accepted as bearer tokens.
   *
   * @throws if `realmUrl` is not that of a realm, `clientId` is empty, or a group or a role holds a comma
   */
  public static keycloak(options: KeycloakAuthProviderOptions): AuthProvider {
    return new KeycloakAuthProvider(options);
  }

  /**
   * GitHub accounts. Without `organization` and `teams` anybody in the world can have one, and an account on an address of the company stays with
   * a person who leaves.
   *
   * The address is the account's primary one, if verified. GitHub makes no ID tokens for people: programs need
   * `grantTrackingAccess` or `trustedTokenIssuers`.
   *
   * @throws if `clientId` is empty, or an organization, a team or the URL is malformed
   */
  public static github(options: GithubAuthProviderOptions): AuthProvider {
    return new GithubAuthProvider(options);
  }

  /**
   * GitLab accounts, of gitlab.com or of a GitLab of your own. Of gitlab.com anybody in the world can have one, and without `allowedGroups` and
   * `allowedProjects` an account on an address of the company stays with a person who leaves.
   *
   * No bearer token is accepted, whoever made it: GitLab signs tokens for CI jobs too, for any audience, and whoever
   * names a branch chooses a part of their subject.
   *
   * @throws if `clientId` is empty, or a group, a project or the URL is malformed
   */
  public static gitlab(options: GitlabAuthProviderOptions): AuthProvider {
    return new GitlabAuthProvider(options);
  }

  /**
   * Called once, while `SecureMlflow` is being defined.
   *
   * @param scope where to define constructs of the provider's own, such as an OAuth client
   * @param options what the provider may need to know
   */
  public abstract bind(scope: Construct, options: AuthProviderBindOptions): AuthProviderConfig;
}

class GoogleAuthProvider extends AuthProvider {
  public constructor(private readonly options: GoogleAuthProviderOptions) {
    super();
    const { clientId, hostedDomains } = options;
    refuseEmpty('AuthProvider.google: `clientId`', clientId);
    if (hostedDomains?.length === 0) {
      throw new Error('AuthProvider.google: `hostedDomains` must hold at least one domain, got []: leave it out for `emailDomains`, or use ["*"] for every Google account');
    }
    const misspelt = everyAccount(hostedDomains) ? undefined : misfit(DOMAIN, hostedDomains);
    if (misspelt !== undefined) {
      throw new Error(`AuthProvider.google: \`hostedDomains\` must hold domains in lower case such as "example.com", or "*" alone, got ${JSON.stringify(misspelt)}: use the domains of your Google Workspace`);
    }
  }

  public bind(_scope: Construct, { emailDomains }: AuthProviderBindOptions): AuthProviderConfig {
    const { clientId, clientSecret, hostedDomains = emailDomains } = this.options;
    const openToPublic = everyAccount(hostedDomains);
    return {
      clientId,
      clientSecret,
      openToPublic,
      ...(!openToPublic && { hostedDomains }),
      environment: {
        // oauth2-proxy's own Google provider neither checks a nonce nor accepts bearer tokens; its OpenID Connect provider does both.
        OAUTH2_PROXY_PROVIDER: 'oidc',
        OAUTH2_PROXY_OIDC_ISSUER_URL: 'https://accounts.google.com',
        OAUTH2_PROXY_SCOPE: DEFAULT_SCOPE,
      },
    };
  }
}

function everyAccount(hostedDomains?: string[]): boolean {
  return hostedDomains?.length === 1 && hostedDomains[0] === '*';
}

class OidcAuthProvider extends AuthProvider {
  public constructor(private readonly options: OidcAuthProviderOptions) {
    super();
    const { issuerUrl, clientId, allowedGroups, extraAudiences } = options;
    if (!Token.isUnresolved(issuerUrl) && !/^https:\/\/[^\s,?#]+$/.test(issuerUrl)) {
      throw new Error(`AuthProvider.oidc: \`issuerUrl\` must be an https URL without query, got ${JSON.stringify(issuerUrl)}: use the issuer as it stands in the provider's /.well-known/openid-configuration`);
    }
    if (isGitlab(issuerUrl)) {
      throw new Error(`AuthProvider.oidc: \`issuerUrl\` must not be that of a GitLab, which signs tokens for CI jobs too, got ${JSON.stringify(issuerUrl)}: use \`AuthProvider.gitlab\`, which accepts no bearer tokens`);
    }
    refusePublicIssuer('AuthProvider.oidc: `issuerUrl`', issuerUrl);
    refuseEmpty('AuthProvider.oidc: `clientId`', clientId);
    refuseUnlistable('AuthProvider.oidc: `allowedGroups`', allowedGroups);
    refuseUnlistable('AuthProvider.oidc: `extraAudiences`', extraAudiences);
  }

  public bind(_scope: Construct, _options: AuthProviderBindOptions): AuthProviderConfig {
    const { issuerUrl, clientId, clientSecret, scope, emailClaim, groupsClaim, allowedGroups, extraAudiences } = this.options;
    return {
      clientId,
      clientSecret,
      ...openTo(isOpenIssuer(issuerUrl) ? true : undefined, allowedGroups),
      environment: {
        OAUTH2_PROXY_PROVIDER: 'oidc',
        OAUTH2_PROXY_OIDC_ISSUER_URL: issuerUrl,
        OAUTH2_PROXY_SCOPE: scope ?? DEFAULT_SCOPE,
        ...(emailClaim && { OAUTH2_PROXY_OIDC_EMAIL_CLAIM: emailClaim }),
        ...(groupsClaim && { OAUTH2_PROXY_OIDC_GROUPS_CLAIM: groupsClaim }),
        ...(allowedGroups && { OAUTH2_PROXY_ALLOWED_GROUPS: allowList(allowedGroups) }),
        ...(extraAudiences && { OAUTH2_PROXY_OIDC_EXTRA_AUDIENCES: Fn.join(',', extraAudiences) }),
      },
    };
  }
}

/** What is known of who can have an account; where groups or roles decide, that does not matter. */
function openTo(openToPublic: boolean | undefined, ...rules: (string[] | undefined)[]): Pick<AuthProviderConfig, 'openToPublic'> {
  const known = rules.some(rule => rule !== undefined) ? false : openToPublic;
  return known === undefined ? {} : { openToPublic: known };
}

/**
 * A Cognito user pool. Make it by `AuthProvider.cognito`, one for each `SecureMlflow`.
 */
export class CognitoAuthProvider extends AuthProvider {
  private bound?: { readonly path: string; readonly userPool: cognito.IUserPool; readonly machines: Machines };

  /**
   * @throws if the options contradict each other, or a prefix, a group or a name cannot work
   */
  public constructor(private readonly options: CognitoAuthProviderOptions = {}) {
    super();
    const { userPool, userPoolDomain, domainPrefix, allowedGroups, machineClients } = options;
    if (userPoolDomain !== undefined && userPool === undefined) {
      throw new Error(`AuthProvider.cognito: \`userPoolDomain\` needs \`userPool\`, got the domain ${JSON.stringify(userPoolDomain.domainName)} alone: pass the pool that it belongs to`);
    }
    if (userPoolDomain !== undefined && domainPrefix !== undefined) {
      throw new Error(`AuthProvider.cognito: \`domainPrefix\` must be left out where \`userPoolDomain\` is given, got ${JSON.stringify(domainPrefix)}: it is about the domain that would be made`);
    }
    if (domainPrefix !== undefined) {
      refuseBadPrefix('got', domainPrefix);
    }
    refuseUnlistable('AuthProvider.cognito: `allowedGroups`', allowedGroups);
    refuseBadNames(machineClients);
    if (allowedGroups !== undefined && machineClients !== undefined) {
      throw new Error(`AuthProvider.cognito: \`allowedGroups\` must be left out where \`machineClients\` is given, got ${JSON.stringify(allowedGroups)}: tokens of machine clients hold no groups and would be refused; let the pool hold only people who may enter, or give programs \`grantTrackingAccess\` in place of \`machineClients\``);
    }
  }

  /**
   * The user pool, brought or made.
   *
   * @throws before a `SecureMlflow` has been made with this provider
   */
  public get userPool(): cognito.IUserPool {
    return this.afterBind('userPool').userPool;
  }

  /**
   * What a machine client needs to ask for tokens, as JSON with the keys `tokenUrl`, `clientId`, `clientSecret` and `scope`. Grant the program to read it.
   *
   * @throws before a `SecureMlflow` has been made with this provider, or if `machineClients` does not hold the name
   */
  public machineClientSecret(name: string): secretsmanager.ISecret {
    const secret = this.afterBind('machineClientSecret').machines.secrets.get(name);
    if (secret === undefined) {
      throw new Error(`AuthProvider.cognito: there is no machine client ${JSON.stringify(name)}, there are ${JSON.stringify(this.options.machineClients ?? [])}: add it to \`machineClients\``);
    }
    return secret;
  }

  public bind(scope: Construct, options: AuthProviderBindOptions): AuthProviderConfig {
    if (this.bound !== undefined) {
      throw new Error(`AuthProvider.cognito: one provider serves one SecureMlflow, and this one serves ${this.bound.path}: make another for ${scope.node.path}; to share the accounts pass \`userPool\` to it`);
    }
    const { allowedGroups, identityProviders, machineClients = [] } = this.options;
    const { url, redirectUrl, encryptionKey } = options;
    const domainPrefix = this.options.userPoolDomain === undefined ? this.options.domainPrefix ?? prefixFrom(url) : undefined;

    const parent = new Construct(scope, 'Cognito');
    const userPool = this.options.userPool ?? makeUserPool(parent);
    const domain = this.options.userPoolDomain ?? new cognito.UserPoolDomain(parent, 'Domain', {
      userPool,
      cognitoDomain: { domainPrefix: domainPrefix! },
      managedLoginVersion: cognito.ManagedLoginVersion.NEWER_MANAGED_LOGIN,
    });
    const domainUrl = urlOf(domain);

    const client = new cognito.UserPoolClient(parent, 'Client', {
      userPool,
      generateSecret: true,
      authFlows: NO_SIGN_IN_API,
      oAuth: {
        flows: { authorizationCodeGrant: true },
        scopes: [cognito.OAuthScope.OPENID, cognito.OAuthScope.EMAIL, cognito.OAuthScope.PROFILE],
        callbackUrls: [redirectUrl],
        logoutUrls: [url],
      },
      ...(identityProviders && { supportedIdentityProviders: identityProviders }),
      preventUserExistenceErrors: true,
      enableTokenRevocation: true,
    });
    new cognito.CfnManagedLoginBranding(parent, 'Branding', {
      userPoolId: userPool.userPoolId,
      clientId: client.userPoolClientId,
      useCognitoProvidedValues: true, // a client without a style gets no sign-in page
    });
    const clientSecret = new secretsmanager.Secret(parent, 'ClientSecret', {
      description: 'MLflow: secret of the Cognito client with which people sign in. Written by the deployment.',
      secretStringValue: secretOf(client),
      ...(encryptionKey && { encryptionKey }),
    });
    clientSecret.node.addDependency(domain); // the tasks wait for the secret, and so for the sign-in page

    const machines = this.defineMachines(parent, userPool, url, domainUrl);
    this.bound = { path: scope.node.path, userPool, machines };
    return {
      clientId: client.userPoolClientId,
      clientSecret: Secret.fromSecretsManager(clientSecret),
      signOutUrl: `${domainUrl}/logout?client_id=${client.userPoolClientId}&logout_uri=${escapedUrl(url)}`,
      machineIdentities: machines.ids, // the subject of their tokens, which hold no address
      ...openTo(isOpen(userPool, identityProviders), allowedGroups),
      environment: {
        OAUTH2_PROXY_PROVIDER: 'oidc',
        OAUTH2_PROXY_OIDC_ISSUER_URL: `https://${userPool.userPoolProviderName}`,
        OAUTH2_PROXY_SCOPE: DEFAULT_SCOPE,
        OAUTH2_PROXY_OIDC_GROUPS_CLAIM: 'cognito:groups',
        ...(allowedGroups && { OAUTH2_PROXY_ALLOWED_GROUPS: allowList(allowedGroups) }),
        ...(machineClients.length > 0 && {
          OAUTH2_PROXY_OIDC_AUDIENCE_CLAIMS: 'aud,client_id', // access tokens have no audience
          OAUTH2_PROXY_OIDC_EXTRA_AUDIENCES: Fn.join(',', machines.ids),
        }),
      },
    };
  }

  private defineMachines(parent: Construct, userPool: cognito.IUserPool, url: string, domainUrl: string): Machines {
    const { machineClients = [] } = this.options;
    const ids: string[] = [];
    const secrets = new Map<string, secretsmanager.ISecret>();
    if (machineClients.length === 0) {
      return { ids, secrets };
    }
    const machines = new Construct(parent, 'Machines');
    // The flow needs a scope. oauth2-proxy does not look at it; the client id decides.
    const access = new cognito.ResourceServerScope({ scopeName: 'access', scopeDescription: 'Use the MLflow server' });
    const server = new cognito.UserPoolResourceServer(parent, 'ResourceServer', { userPool, userPoolResourceServerName: 'MLflow', identifier: url, scopes: [access] });
    const scope = cognito.OAuthScope.resourceServer(server, access);
    for (const name of machineClients) {
      const machine = new Construct(machines, name);
      const client = new cognito.UserPoolClient(machine, 'Client', {
        userPool,
        generateSecret: true,
        authFlows: NO_SIGN_IN_API,
        oAuth: { flows: { clientCredentials: true }, scopes: [scope] },
        enableTokenRevocation: true,
      });
      ids.push(client.userPoolClientId);
      secrets.set(name, new secretsmanager.Secret(machine, 'Secret', {
        description: `MLflow: with what the machine client ${name} asks Cognito for tokens. Written by the deployment.`,
        secretObjectValue: {
          tokenUrl: SecretValue.unsafePlainText(`${domainUrl}/oauth2/token`),
          clientId: SecretValue.unsafePlainText(client.userPoolClientId),
          clientSecret: secretOf(client),
          scope: SecretValue.unsafePlainText(scope.scopeName),
        },
      }));
    }
    return { ids, secrets };
  }

  private afterBind(member: string): NonNullable<CognitoAuthProvider['bound']> {
    if (this.bound === undefined) {
      throw new Error(`AuthProvider.cognito: \`${member}\` is there once a SecureMlflow has been made with the provider: use it after \`new SecureMlflow(…)\``);
    }
    return this.bound;
  }
}

interface Machines {
  readonly ids: string[];
  /** By the name of the client. */
  readonly secrets: Map<string, secretsmanager.ISecret>;
}

/** No sign-in by API, neither with a password nor otherwise: people use the page of the pool, where its rules hold. */
const NO_SIGN_IN_API: cognito.AuthFlow = { user: false };

function makeUserPool(scope: Construct): cognito.UserPool {
  return new cognito.UserPool(scope, 'UserPool', {
    featurePlan: cognito.FeaturePlan.ESSENTIALS, // the newer sign-in page needs it
    selfSignUpEnabled: false,
    signInAliases: { email: true },
    signInCaseSensitive: false,
    standardAttributes: { email: { required: true, mutable: true } },
    autoVerify: { email: true },
    keepOriginal: { email: true }, // a changed address does not count before it is verified
    passwordPolicy: { minLength: 12, requireLowercase: true, requireUppercase: true, requireDigits: true, requireSymbols: true },
    mfa: cognito.Mfa.OPTIONAL,
    mfaSecondFactor: { otp: true, sms: false },
    accountRecovery: cognito.AccountRecovery.EMAIL_ONLY,
    deletionProtection: true,
    removalPolicy: RemovalPolicy.RETAIN, // accounts are data, and no backup brings them back
  });
}

/** Where anybody in the world can have an account. */
const SOCIAL_KINDS = [
  cognito.UserPoolIdentityProviderGoogle,
  cognito.UserPoolIdentityProviderFacebook,
  cognito.UserPoolIdentityProviderAmazon,
  cognito.UserPoolIdentityProviderApple,
];
const { GOOGLE, FACEBOOK, AMAZON, APPLE, COGNITO } = cognito.UserPoolClientIdentityProvider;
const SOCIAL_NAMES = [GOOGLE, FACEBOOK, AMAZON, APPLE].map(({ name }) => name);

/** Whether anybody in the world can have an account of the pool, as far as this app defines it. */
function isOpen(userPool: cognito.IUserPool, identityProviders?: cognito.UserPoolClientIdentityProvider[]): boolean | undefined {
  const names = identityProviders?.map(({ name }) => name);
  const social = names === undefined
    ? userPool.identityProviders.some(provider => SOCIAL_KINDS.some(kind => provider instanceof kind))
    : names.some(name => SOCIAL_NAMES.includes(name));
  if (social) {
    return true;
  }
  const pool = userPool.node.defaultChild;
  if (!(pool instanceof cognito.CfnUserPool)) {
    return undefined; // imported
  }
  if (names !== undefined && !names.includes(COGNITO.name)) {
    return false; // people come from the company's own providers
  }
  const config = (pool.adminCreateUserConfig ?? {}) as cognito.CfnUserPool.AdminCreateUserConfigProperty;
  const { allowAdminCreateUserOnly = false } = config;
  return Token.isUnresolved(config) || Token.isUnresolved(allowAdminCreateUserOnly) ? undefined : !allowAdminCreateUserOnly;
}

/** From CloudFormation itself: what the CDK offers is a function that runs in the account. */
function secretOf(client: cognito.UserPoolClient): SecretValue {
  return SecretValue.resourceAttribute((client.node.defaultChild as cognito.CfnUserPoolClient).attrClientSecret);
}

function urlOf(domain: cognito.IUserPoolDomain): string {
  const made = domain as cognito.UserPoolDomain;
  if (typeof made.baseUrl === 'function') {
    return made.baseUrl();
  }
  // An imported one has only a name: a whole host, or a prefix.
  const { domainName } = domain;
  if (Token.isUnresolved(domainName)) {
    throw new Error('AuthProvider.cognito: `userPoolDomain` must have a name that is known at synthesis, or be a UserPoolDomain: pass UserPoolDomain.fromDomainName(…) the prefix or the host itself');
  }
  return `https://${domainName.includes('.') ? domainName : `${domainName}.auth.${Stack.of(domain).region}.amazoncognito.com`}`;
}

function prefixFrom(url: string): string {
  if (Token.isUnresolved(url)) {
    throw new Error('AuthProvider.cognito: `domainPrefix` must be given where the domain name of the server is only known at deployment: choose one that nobody else in the region has');
  }
  const prefix = new URL(url).hostname.replace(/\./g, '-');
  refuseBadPrefix(`made from ${url}, got`, prefix);
  return prefix;
}

/** https://docs.aws.amazon.com/cognito/latest/developerguide/cognito-user-pools-assign-domain-prefix.html */
function refuseBadPrefix(got: string, prefix: string): void {
  if (Token.isUnresolved(prefix)) {
    return;
  }
  if (!/^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/.test(prefix) || /aws|amazon|cognito/.test(prefix)) {
    throw new Error(`AuthProvider.cognito: \`domainPrefix\` must be 1 to 63 lower-case letters, digits and inner dashes without "aws", "amazon" and "cognito", ${got} ${JSON.stringify(prefix)}: choose another that nobody else in the region has`);
  }
}

function refuseBadNames(names?: string[]): void {
  if (names === undefined) {
    return;
  }
  // They name constructs, so they cannot be tokens either.
  if (names.length === 0 || new Set(names).size < names.length || !names.every(name => /^[A-Za-z][\w-]{0,63}$/.test(name))) {
    throw new Error(`AuthProvider.cognito: \`machineClients\` must hold at least one name, each once, of letters, digits, "-" and "_", such as "training", got ${JSON.stringify(names)}: leave it out for none`);
  }
}

class EntraIdAuthProvider extends AuthProvider {
  public constructor(private readonly options: EntraIdAuthProviderOptions) {
    super();
    const { tenantId, clientId, allowedGroups } = options;
    // A domain name would do for signing in, but the tokens and the discovery document hold the id.
    if (!Token.isUnresolved(tenantId) && (!/^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/.test(tenantId) || tenantId === PERSONAL_ACCOUNTS)) {
      throw new Error(`AuthProvider.entraId: \`tenantId\` must be the id of one tenant, a GUID in lower case, got ${JSON.stringify(tenantId)}: use the directory (tenant) id of the app registration; "common", "organizations", "consumers" and the tenant of personal accounts would let in the whole world, and for a domain name the proxy does not start`);
    }
    refuseEmpty('AuthProvider.entraId: `clientId`', clientId);
    refuseUnlistable('AuthProvider.entraId: `allowedGroups`', allowedGroups);
  }

  public bind(_scope: Construct, options: AuthProviderBindOptions): AuthProviderConfig {
    const { tenantId, clientId, clientSecret, emailClaim, allowedGroups } = this.options;
    const tenantUrl = `https://login.microsoftonline.com/${tenantId}`;
    return {
      clientId,
      clientSecret,
      signOutUrl: `${tenantUrl}/oauth2/v2.0/logout?post_logout_redirect_uri=${escapedUrl(options.url)}`,
      openToPublic: false,
      environment: {
        OAUTH2_PROXY_PROVIDER: 'entra-id',
        OAUTH2_PROXY_OIDC_ISSUER_URL: `${tenantUrl}/v2.0`,
        // Who is in more groups than fit into a token is looked up in Microsoft Graph, which wants one scope more.
        OAUTH2_PROXY_SCOPE: allowedGroups ? `${DEFAULT_SCOPE} User.Read` : DEFAULT_SCOPE,
        ...(emailClaim && { OAUTH2_PROXY_OIDC_EMAIL_CLAIM: emailClaim }),
        ...(allowedGroups && { OAUTH2_PROXY_ALLOWED_GROUPS: allowList(allowedGroups) }),
      },
    };
  }
}

/** https://learn.microsoft.com/entra/identity-platform/id-token-claims-reference */
const PERSONAL_ACCOUNTS = '9188040d-6c67-4c5b-b112-36a304b66dad';

class KeycloakAuthProvider extends AuthProvider {
  public constructor(private readonly options: KeycloakAuthProviderOptions) {
    super();
    const { realmUrl, clientId, allowedGroups, allowedRoles } = options;
    if (!Token.isUnresolved(realmUrl) && !/^https:\/\/[^\s,?#]+\/realms\/[^\s,?#/]+$/.test(realmUrl)) {
      throw new Error(`AuthProvider.keycloak: \`realmUrl\` must be https://<host>/realms/<name>, got ${JSON.stringify(realmUrl)}: use the issuer that the realm's OpenID endpoint configuration shows`);
    }
    refuseEmpty('AuthProvider.keycloak: `clientId`', clientId);
    refuseUnlistable('AuthProvider.keycloak: `allowedGroups`', allowedGroups);
    refuseUnlistable('AuthProvider.keycloak: `allowedRoles`', allowedRoles);
  }

  public bind(_scope: Construct, options: AuthProviderBindOptions): AuthProviderConfig {
    const { realmUrl, clientId, clientSecret, allowedGroups, allowedRoles } = this.options;
    const escapedId = Token.isUnresolved(clientId) ? clientId : encodeURIComponent(clientId);
    return {
      clientId,
      clientSecret,
      signOutUrl: `${realmUrl}/protocol/openid-connect/logout?client_id=${escapedId}&post_logout_redirect_uri=${escapedUrl(options.url)}`,
      ...openTo(undefined, allowedGroups, allowedRoles),
      environment: {
        OAUTH2_PROXY_PROVIDER: 'keycloak-oidc',
        OAUTH2_PROXY_OIDC_ISSUER_URL: realmUrl,
        OAUTH2_PROXY_SCOPE: DEFAULT_SCOPE,
        ...(allowedGroups && { OAUTH2_PROXY_ALLOWED_GROUPS: allowList(allowedGroups) }),
        ...(allowedRoles && { OAUTH2_PROXY_ALLOWED_ROLES: allowList(allowedRoles) }),
      },
    };
  }
}

class GithubAuthProvider extends AuthProvider {
  public constructor(private readonly options: GithubAuthProviderOptions) {
    super();
    const { clientId, organization, teams, enterpriseUrl } = options;
    refuseEmpty('AuthProvider.github: `clientId`', clientId);
    if (organization !== undefined && Token.isUnresolved(organization)) {
      throw new Error('AuthProvider.github: `organization` must be known at synthesis, got a token, which could be empty and let in every account of GitHub: write the name, or use `teams`');
    }
    if (organization !== undefined && !/^[\w-]+$/.test(organization)) {
      throw new Error(`AuthProvider.github: \`organization\` must be the name of one organization, got ${JSON.stringify(organization)}: use the name in its address on GitHub`);
    }
    refuseUnlistable('AuthProvider.github: `teams`', teams);
    const misspelt = misfit(organization === undefined ? /^[\w-]+:[\w.-]+$/ : /^[\w.-]+$/, teams);
    if (misspelt !== undefined) {
      throw new Error(`AuthProvider.github: \`teams\` must hold ${organization === undefined ? '"organization:slug" where `organization` is left out' : 'the slugs of teams where `organization` is given'}, got ${JSON.stringify(misspelt)}: use the name in the team's address on GitHub`);
    }
    refuseNoOrigin('AuthProvider.github: `enterpriseUrl`', enterpriseUrl, 'https://github.example.com');
  }

  public bind(_scope: Construct, _options: AuthProviderBindOptions): AuthProviderConfig {
    const { clientId, clientSecret, organization, teams, enterpriseUrl } = this.options;
    return {
      clientId,
      clientSecret,
      ...openTo(enterpriseUrl === undefined ? true : undefined, organization === undefined ? undefined : [organization], teams),
      environment: {
        OAUTH2_PROXY_PROVIDER: 'github',
        OAUTH2_PROXY_SCOPE: 'user:email read:org', // organizations are read at every sign-in
        ...(organization && { OAUTH2_PROXY_GITHUB_ORG: organization }),
        ...(teams && { OAUTH2_PROXY_GITHUB_TEAM: allowList(teams) }), // a list in spite of its name
        ...(enterpriseUrl && {
          OAUTH2_PROXY_LOGIN_URL: `${enterpriseUrl}/login/oauth/authorize`,
          OAUTH2_PROXY_REDEEM_URL: `${enterpriseUrl}/login/oauth/access_token`,
          OAUTH2_PROXY_VALIDATE_URL: `${enterpriseUrl}/api/v3`,
        }),
      },
    };
  }
}

class GitlabAuthProvider extends AuthProvider {
  public constructor(private readonly options: GitlabAuthProviderOptions) {
    super();
    const { clientId, baseUrl, allowedGroups, allowedProjects } = options;
    refuseEmpty('AuthProvider.gitlab: `clientId`', clientId);
    refuseNoOrigin('AuthProvider.gitlab: `baseUrl`', baseUrl, 'https://gitlab.example.com');
    refuseUnlistable('AuthProvider.gitlab: `allowedGroups`', allowedGroups);
    refuseUnlistable('AuthProvider.gitlab: `allowedProjects`', allowedProjects);
    const misspelt = misfit(/^[^\s=/]+(\/[^\s=/]+)+(=(10|20|30|40))?$/, allowedProjects);
    if (misspelt !== undefined) {
      throw new Error(`AuthProvider.gitlab: \`allowedProjects\` must hold full paths, each with "=" and one of the levels 10, 20, 30 and 40 if need be, such as "ml/models=30", got ${JSON.stringify(misspelt)}: use the path in the project's address on GitLab`);
    }
  }

  public bind(_scope: Construct, _options: AuthProviderBindOptions): AuthProviderConfig {
    const { clientId, clientSecret, baseUrl = GITLAB_COM, allowedGroups, allowedProjects } = this.options;
    return {
      clientId,
      clientSecret,
      bearerTokens: false,
      ...openTo(baseUrl === GITLAB_COM ? true : undefined, allowedGroups, allowedProjects),
      environment: {
        OAUTH2_PROXY_PROVIDER: 'gitlab',
        OAUTH2_PROXY_OIDC_ISSUER_URL: baseUrl,
        OAUTH2_PROXY_SCOPE: allowedProjects ? 'openid email read_api' : 'openid email',
        // Not ALLOWED_GROUPS, which this provider of oauth2-proxy overwrites with these.
        ...(allowedGroups && { OAUTH2_PROXY_GITLAB_GROUPS: allowList(allowedGroups) }),
        ...(allowedProjects && { OAUTH2_PROXY_GITLAB_PROJECTS: allowList(allowedProjects) }),
      },
    };
  }
}

const GITLAB_COM = 'https://gitlab.com';

/** Written out everywhere, because with allowed groups oauth2-proxy would add the scope `groups`, which several providers refuse. */
const DEFAULT_SCOPE = 'openid email profile';

/** The address of the server as a value in a query. Its host needs no escaping and may be a token. */
function escapedUrl(url: string): string {
  return url.replace('https://', 'https%3A%2F%2F');
}

function refuseEmpty(name: string, value: string): void {
  if (!Token.isUnresolved(value) && value.trim() === '') {
    throw new Error(`${name} must not be empty, got ${JSON.stringify(value)}: use the id of the OAuth client registered at the provider`);
  }
}

function refuseNoOrigin(name: string, url: string | undefined, example: string): void {
  if (url !== undefined && !Token.isUnresolved(url) && !/^https:\/\/[a-z0-9.-]+(:\d+)?$/.test(url)) {
    throw new Error(`${name} must be https:// and a host in lower case, such as "${example}", got ${JSON.stringify(url)}: leave out the path and the slash at the end`);
  }
}

function misfit(pattern: RegExp, entries?: string[]): string | undefined {
  return entries === undefined || Token.isUnresolved(entries) ? undefined : entries.find(entry => !Token.isUnresolved(entry) && !pattern.test(entry));
}

/** oauth2-proxy splits lists at commas and knows no escape; an empty list would mean no rule at all. */
function refuseUnlistable(name: string, entries?: string[]): void {
  if (entries === undefined || Token.isUnresolved(entries)) {
    return;
  }
  if (entries.length === 0 || entries.some(entry => !Token.isUnresolved(entry) && (entry.trim() === '' || entry.includes(',')))) {
    throw new Error(`${name} must hold at least one entry, each without a comma, got ${JSON.stringify(entries)}: leave it out for no restriction`);
  }
}
