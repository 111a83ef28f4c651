import { Fn } from 'aws-cdk-lib';
import type { Secret } from 'aws-cdk-lib/aws-ecs';
import type { AuthProviderConfig } from './config';
import { isGitlab, isGoogle, isOpenIssuer, refusePublicIssuer, refusesOfflineAccess } from './public-issuers';
import { Configure, DEFAULT_SCOPE, OFFLINE_ACCESS, openTo, requireId, requireList } from './rules';
import { checkToolsClient, toolsClient, ToolsClientOptions } from './tools';
import { known } from '../checks/problems';
import { allowList } from '../settings/allow-list';

/** Options of `AuthProvider.oidc`. */
export interface OidcAuthProviderOptions extends ToolsClientOptions {
  /**
   * The issuer, exactly as in the `iss` claim, including a trailing slash if there is one.
   *
   * `<issuerUrl>/.well-known/openid-configuration` must be reachable from the tasks when they start.
   */
  readonly issuerUrl: string;

  /** Id of the OAuth client that you registered at the provider. */
  readonly clientId: string;

  /** Client secret: `ecs.Secret.fromSecretsManager(…)`, or `ecs.Secret.fromSsmParameter(…)` for a SecureString. */
  readonly clientSecret: Secret;

  /**
   * Scopes to request, separated by spaces. Some providers require another scope for the claim with groups.
   *
   * With `sessionRefresh` it must include the scope for which the provider issues refresh tokens, mostly `offline_access`. Synthesis warns if that is missing.
   *
   * @default 'openid email profile' - with `sessionRefresh` also `offline_access`
   */
  readonly scope?: string;

  /**
   * Claim that contains the address to compare with `emailDomains`.
   *
   * Warning: oauth2-proxy checks that an address is verified (`email_verified`) only in the claim `email`. Use another claim only if people can neither choose
   * nor change its value. If only `emailDomains` decides who gets in, synthesis warns.
   *
   * @default 'email'
   */
  readonly emailClaim?: string;

  /**
   * Claim that contains the groups of a person.
   *
   * @default 'groups'
   */
  readonly groupsClaim?: string;

  /**
   * Allowed groups. A person must be in one of them and also have an address in `emailDomains`. The rule also applies to bearer tokens: a bearer token
   * without groups is rejected.
   *
   * @default - no restriction by group
   */
  readonly allowedGroups?: string[];

  /**
   * Audiences, in addition to the client id, for which tokens are accepted as bearer tokens. oauth2-proxy accepts these audiences from every trusted issuer.
   *
   * @default - only the client id
   */
  readonly extraAudiences?: string[];
}

export function oidc(options: OidcAuthProviderOptions): Configure {
  const { issuerUrl, clientId, clientSecret, scope, emailClaim, groupsClaim, allowedGroups, extraAudiences, toolsClientId } = options;
  if (known(issuerUrl) && !/^https:\/\/[^\s,?#]+$/.test(issuerUrl)) {
    throw new Error(`AuthProvider.oidc: \`issuerUrl\` must be an https URL without query, got ${JSON.stringify(issuerUrl)}: use the \`issuer\` in the provider's /.well-known/openid-configuration`);
  }
  if (isGitlab(issuerUrl)) {
    throw new Error(`AuthProvider.oidc: \`issuerUrl\` must not be the issuer of a GitLab, which also signs tokens for CI jobs, got ${JSON.stringify(issuerUrl)}: use \`AuthProvider.gitlab\`, which accepts no bearer tokens`);
  }
  refusePublicIssuer('AuthProvider.oidc: `issuerUrl`', issuerUrl);
  requireId('AuthProvider.oidc: `clientId`', clientId);
  requireList('AuthProvider.oidc: `allowedGroups`', allowedGroups);
  requireList('AuthProvider.oidc: `extraAudiences`', extraAudiences);
  checkToolsClient('AuthProvider.oidc', issuerUrl, toolsClientId);
  const refreshing = (base: string) => refusesOfflineAccess(issuerUrl) || base.split(' ').includes(OFFLINE_ACCESS) ? base : `${base} ${OFFLINE_ACCESS}`;
  return ({ sessionRefresh }) => {
    const asked = scope ?? (sessionRefresh ? refreshing(DEFAULT_SCOPE) : DEFAULT_SCOPE);
    return {
      clientId,
      clientSecret,
      ...refreshTokens(issuerUrl, asked),
      ...groups(options, asked),
      ...openTo(isOpenIssuer(issuerUrl) ? true : undefined, allowedGroups),
      ...toolsClient(issuerUrl, refreshing(scope ?? DEFAULT_SCOPE), toolsClientId),
      environment: {
        OAUTH2_PROXY_PROVIDER: 'oidc',
        OAUTH2_PROXY_OIDC_ISSUER_URL: issuerUrl,
        OAUTH2_PROXY_SCOPE: asked,
        ...(emailClaim && { OAUTH2_PROXY_OIDC_EMAIL_CLAIM: emailClaim }),
        ...(groupsClaim && { OAUTH2_PROXY_OIDC_GROUPS_CLAIM: groupsClaim }),
        ...(allowedGroups && { OAUTH2_PROXY_ALLOWED_GROUPS: allowList(allowedGroups) }),
        ...(extraAudiences && { OAUTH2_PROXY_OIDC_EXTRA_AUDIENCES: Fn.join(',', extraAudiences) }),
      },
    };
  };
}

/** Whether the provider sends groups, if the options show it. Google sends none. */
function groups({ issuerUrl, groupsClaim, allowedGroups }: OidcAuthProviderOptions, scope: string): Pick<AuthProviderConfig, 'groups'> {
  if (isGoogle(issuerUrl)) {
    return { groups: false };
  }
  return groupsClaim !== undefined || allowedGroups !== undefined || (known(scope) && scope.split(' ').includes('groups')) ? { groups: true } : {};
}

/** Whether the provider issues refresh tokens, if the scope shows it. Google issues them only for a parameter that oauth2-proxy does not send. */
function refreshTokens(issuerUrl: string, scope: string): Pick<AuthProviderConfig, 'refreshTokens'> {
  if (isGoogle(issuerUrl)) {
    return { refreshTokens: false };
  }
  return refusesOfflineAccess(issuerUrl) || !known(scope) || scope.split(' ').includes(OFFLINE_ACCESS) ? { refreshTokens: true } : {};
}
