import { Token } from 'aws-cdk-lib';
import type { Secret } from 'aws-cdk-lib/aws-ecs';
import { Configure, DEFAULT_SCOPE, escapedUrl, openTo, requireId, requireList } from './rules';
import { checkToolsClient, toolsClient, ToolsClientOptions } from './tools';
import { known } from '../checks/problems';
import { allowList } from '../settings/allow-list';

/** Options of `AuthProvider.keycloak`. */
export interface KeycloakAuthProviderOptions extends ToolsClientOptions {
  /** URL of the realm, `https://<host>/realms/<name>`. It must be reachable from the tasks when they start. */
  readonly realmUrl: string;

  /** Id of the OAuth client in the realm. */
  readonly clientId: string;

  /** Client secret: `ecs.Secret.fromSecretsManager(…)`, or `ecs.Secret.fromSsmParameter(…)` for a SecureString. */
  readonly clientSecret: Secret;

  /**
   * Allowed groups, spelled as in the claim `groups`: `/ml-team` if the mapper writes full paths. A person must have one of the groups or roles and also have an
   * address in `emailDomains`.
   *
   * @default - no restriction by group
   */
  readonly allowedGroups?: string[];

  /**
   * Allowed roles: `name` for a role of the realm, `client:name` for a role of a client. A person must have one of the groups or roles and also have an address
   * in `emailDomains`.
   *
   * @default - no restriction by role
   */
  readonly allowedRoles?: string[];
}

export function keycloak(options: KeycloakAuthProviderOptions): Configure {
  const { realmUrl, clientId, clientSecret, allowedGroups, allowedRoles, toolsClientId } = options;
  if (known(realmUrl) && !/^https:\/\/[^\s,?#]+\/realms\/[^\s,?#/]+$/.test(realmUrl)) {
    throw new Error(`AuthProvider.keycloak: \`realmUrl\` must be https://<host>/realms/<name>, got ${JSON.stringify(realmUrl)}: use the issuer in the realm's OpenID endpoint configuration`);
  }
  requireId('AuthProvider.keycloak: `clientId`', clientId);
  requireList('AuthProvider.keycloak: `allowedGroups`', allowedGroups);
  requireList('AuthProvider.keycloak: `allowedRoles`', allowedRoles);
  checkToolsClient('AuthProvider.keycloak', realmUrl, toolsClientId);
  return ({ url }) => {
    const escapedId = Token.isUnresolved(clientId) ? clientId : encodeURIComponent(clientId);
    return {
      clientId,
      clientSecret,
      groups: true, // roles always, groups with a mapper
      refreshTokens: true, // with `offline_access` it would issue a refresh token that signing out does not revoke
      signOutUrl: `${realmUrl}/protocol/openid-connect/logout?client_id=${escapedId}&post_logout_redirect_uri=${escapedUrl(url)}`,
      ...openTo(undefined, allowedGroups, allowedRoles),
      ...toolsClient(realmUrl, DEFAULT_SCOPE, toolsClientId),
      environment: {
        OAUTH2_PROXY_PROVIDER: 'keycloak-oidc',
        OAUTH2_PROXY_OIDC_ISSUER_URL: realmUrl,
        OAUTH2_PROXY_SCOPE: DEFAULT_SCOPE,
        ...(allowedGroups && { OAUTH2_PROXY_ALLOWED_GROUPS: allowList(allowedGroups) }),
        ...(allowedRoles && { OAUTH2_PROXY_ALLOWED_ROLES: allowList(allowedRoles) }),
      },
    };
  };
}
