import { Fn, Token } from 'aws-cdk-lib';
import { Secret } from 'aws-cdk-lib/aws-ecs';
import { Construct } from 'constructs';

/** What `AuthProvider.bind` is told about the deployment. */
export interface AuthProviderBindOptions {
  /** The address of the server, such as `https://mlflow.example.com`. */
  readonly url: string;

  /** The address the provider sends people back to; register it there as a redirect URL, exactly. */
  readonly redirectUrl: string;
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
   * Whether anybody in the world can have an account there. If so, `emailDomains: ['*']` brings a warning.
   *
   * @default false - accounts are made by the company
   */
  readonly openToPublic?: boolean;

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

/** The OAuth client of `AuthProvider.google`. */
export interface GoogleAuthProviderOptions {
  /** Client id from the Google Cloud console, `….apps.googleusercontent.com`. */
  readonly clientId: string;

  /** Client secret: `ecs.Secret.fromSecretsManager(…)`, or `ecs.Secret.fromSsmParameter(…)` for a SecureString. */
  readonly clientSecret: Secret;
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
   * Audiences, beside the client id, for which tokens of this issuer are accepted as bearer tokens.
   *
   * @default - tokens made for the client id alone
   */
  readonly extraAudiences?: string[];
}

/**
 * Where people sign in.
 *
 * Pick a factory. For a provider that has none, extend this class: `bind` returns the settings that
 * oauth2-proxy wants for it.
 */
export abstract class AuthProvider {
  /**
   * Google accounts, by OpenID Connect. `emailDomains` decides whose.
   *
   * Google's ID tokens for this client are accepted as bearer tokens; for those of the gcloud command line add
   * `TokenIssuer.gcloud()` to `trustedTokenIssuers`.
   *
   * @throws if `clientId` is empty
   */
  public static google(options: GoogleAuthProviderOptions): AuthProvider {
    // oauth2-proxy's own Google provider neither checks a nonce nor accepts bearer tokens; its OpenID Connect provider does both.
    return new OidcAuthProvider('AuthProvider.google', { ...options, issuerUrl: 'https://accounts.google.com' }, true);
  }

  /**
   * Any OpenID Connect provider: Okta, Auth0, Dex, Ping, Authentik …
   *
   * @throws if `issuerUrl` is no https URL, `clientId` is empty, or a group or an audience holds a comma
   */
  public static oidc(options: OidcAuthProviderOptions): AuthProvider {
    return new OidcAuthProvider('AuthProvider.oidc', options, false);
  }

  /**
   * Called once, while `SecureMlflow` is being defined.
   *
   * @param scope where to define constructs of the provider's own, such as an OAuth client
   * @param options what the provider may need to know
   */
  public abstract bind(scope: Construct, options: AuthProviderBindOptions): AuthProviderConfig;
}

class OidcAuthProvider extends AuthProvider {
  public constructor(factory: string, private readonly options: OidcAuthProviderOptions, private readonly openToPublic: boolean) {
    super();
    const { issuerUrl, clientId, allowedGroups, extraAudiences } = options;
    if (!Token.isUnresolved(issuerUrl) && !/^https:\/\/[^\s,?#]+$/.test(issuerUrl)) {
      throw new Error(`${factory}: \`issuerUrl\` must be an https URL without query, got ${JSON.stringify(issuerUrl)}: use the issuer as it stands in the provider's /.well-known/openid-configuration`);
    }
    if (!Token.isUnresolved(clientId) && clientId.trim() === '') {
      throw new Error(`${factory}: \`clientId\` must not be empty, got ${JSON.stringify(clientId)}: use the id of the OAuth client registered at the provider`);
    }
    refuseUnlistable(`${factory}: \`allowedGroups\``, allowedGroups);
    refuseUnlistable(`${factory}: \`extraAudiences\``, extraAudiences);
  }

  public bind(_scope: Construct, _options: AuthProviderBindOptions): AuthProviderConfig {
    const { issuerUrl, clientId, clientSecret, scope, emailClaim, groupsClaim, allowedGroups, extraAudiences } = this.options;
    return {
      clientId,
      clientSecret,
      openToPublic: this.openToPublic,
      environment: {
        OAUTH2_PROXY_PROVIDER: 'oidc',
        OAUTH2_PROXY_OIDC_ISSUER_URL: issuerUrl,
        // Written out, because with allowed groups oauth2-proxy would add the scope `groups`, which several providers refuse.
        OAUTH2_PROXY_SCOPE: scope ?? 'openid email profile',
        ...(emailClaim && { OAUTH2_PROXY_OIDC_EMAIL_CLAIM: emailClaim }),
        ...(groupsClaim && { OAUTH2_PROXY_OIDC_GROUPS_CLAIM: groupsClaim }),
        ...(allowedGroups && { OAUTH2_PROXY_ALLOWED_GROUPS: Fn.join(',', allowedGroups) }),
        ...(extraAudiences && { OAUTH2_PROXY_OIDC_EXTRA_AUDIENCES: Fn.join(',', extraAudiences) }),
      },
    };
  }
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
