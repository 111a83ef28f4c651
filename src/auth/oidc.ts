import { Fn } from 'aws-cdk-lib';
import type { Secret } from 'aws-cdk-lib/aws-ecs';
import type { AuthProviderConfig } from './config';
import { isGitlab, isGoogle, isOpenIssuer, refusePublicIssuer, refusesOfflineAccess } from './public-issuers';
import { Configure, DEFAULT_SCOPE, OFFLINE_ACCESS, openTo, requireId, requireList } from './rules';
import { checkToolsClient, toolsClient, ToolsClientOptions } from './tools';
import { known } from '../checks/problems';
import { allowList } from '../settings/allow-list';

/** The issuer and OAuth client of `AuthProvider.oidc`. */
export interface OidcAuthProviderOptions extends ToolsClientOptions {
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
   * Scopes to ask for, separated by spaces. Some providers want one more for group claims.
   *
   * With `sessionRefresh` it must hold the one that the provider gives refresh tokens for: mostly `offline_access`. Where it lacks that, synthesis warns.
   *
   * @default 'openid email profile' - with `sessionRefresh` also `offline_access`
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

export function oidc(options: OidcAuthProviderOptions): Configure {
  const { issuerUrl, clientId, clientSecret, scope, emailClaim, groupsClaim, allowedGroups, extraAudiences, toolsClientId } = options;
  if (known(issuerUrl) && !/^https:\/\/[^\s,?#]+$/.test(issuerUrl)) {
    throw new Error(`AuthProvider.oidc: \`issuerUrl\` must be an https URL without query, got ${JSON.stringify(issuerUrl)}: use the issuer as it stands in the provider's /.well-known/openid-configuration`);
  }
  if (isGitlab(issuerUrl)) {
    throw new Error(`AuthProvider.oidc: \`issuerUrl\` must not be that of a GitLab, which signs tokens for CI jobs too, got ${JSON.stringify(issuerUrl)}: use \`AuthProvider.gitlab\`, which accepts no bearer tokens`);
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

/** Known where the options say so, and of Google, which sends none. */
function groups({ issuerUrl, groupsClaim, allowedGroups }: OidcAuthProviderOptions, scope: string): Pick<AuthProviderConfig, 'groups'> {
  if (isGoogle(issuerUrl)) {
    return { groups: false };
  }
  return groupsClaim !== undefined || allowedGroups !== undefined || (known(scope) && scope.split(' ').includes('groups')) ? { groups: true } : {};
}

/** Known where the scope says so, and of Google, which gives them for a parameter that oauth2-proxy does not send. */
function refreshTokens(issuerUrl: string, scope: string): Pick<AuthProviderConfig, 'refreshTokens'> {
  if (isGoogle(issuerUrl)) {
    return { refreshTokens: false };
  }
  return refusesOfflineAccess(issuerUrl) || !known(scope) || scope.split(' ').includes(OFFLINE_ACCESS) ? { refreshTokens: true } : {};
}
