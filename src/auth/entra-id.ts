import type { Secret } from 'aws-cdk-lib/aws-ecs';
import { Configure, DEFAULT_SCOPE, escapedUrl, OFFLINE_ACCESS, requireId, requireList } from './rules';
import { checkToolsClient, toolsClient, ToolsClientOptions } from './tools';
import { known } from '../checks/problems';
import { allowList } from '../settings/allow-list';

/** Options of `AuthProvider.entraId`. */
export interface EntraIdAuthProviderOptions extends ToolsClientOptions {
  /** The directory (tenant) id, a GUID in lower case. */
  readonly tenantId: string;

  /** The application (client) id. */
  readonly clientId: string;

  /** The value (not the id) of a client secret: `ecs.Secret.fromSecretsManager(…)`, or `ecs.Secret.fromSsmParameter(…)` for a SecureString. */
  readonly clientSecret: Secret;

  /**
   * Claim that contains the address to compare with `emailDomains`. `email` is missing if an account has no mailbox. `preferred_username` is always present.
   *
   * Entra ID marks neither claim as verified. Administrators of the tenant set them for its members. The name of a guest comes from another directory.
   *
   * @default 'email'
   * @see https://learn.microsoft.com/entra/identity-platform/id-token-claims-reference
   */
  readonly emailClaim?: string;

  /**
   * Object ids of allowed groups. A person must be in one of them and also have an address in `emailDomains`. The app registration must be set up to put groups
   * into its ID tokens.
   *
   * @default - every account of the tenant that may use the application
   */
  readonly allowedGroups?: string[];
}

/** https://learn.microsoft.com/entra/identity-platform/id-token-claims-reference */
const PERSONAL_ACCOUNTS = '9188040d-6c67-4c5b-b112-36a304b66dad';

export function entraId(options: EntraIdAuthProviderOptions): Configure {
  const { tenantId, clientId, clientSecret, emailClaim, allowedGroups, toolsClientId } = options;
  // A domain name would work for signing in, but the ID tokens and the discovery document contain the id.
  if (known(tenantId) && (!/^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/.test(tenantId) || tenantId === PERSONAL_ACCOUNTS)) {
    throw new Error(`AuthProvider.entraId: \`tenantId\` must be the id of one tenant, a GUID in lower case, got ${JSON.stringify(tenantId)}: use the directory (tenant) id of the app registration; "common", "organizations", "consumers" and the tenant of personal accounts would admit anyone in the world, and with a domain name oauth2-proxy does not start`);
  }
  requireId('AuthProvider.entraId: `clientId`', clientId);
  requireList('AuthProvider.entraId: `allowedGroups`', allowedGroups);
  const tenantUrl = `https://login.microsoftonline.com/${tenantId}`;
  const issuerUrl = `${tenantUrl}/v2.0`;
  checkToolsClient('AuthProvider.entraId', issuerUrl, toolsClientId);
  return ({ url, sessionRefresh, needsGroups }) => ({
    clientId,
    clientSecret,
    signOutUrl: `${tenantUrl}/oauth2/v2.0/logout?post_logout_redirect_uri=${escapedUrl(url)}`,
    openToPublic: false,
    groups: true, // if the app registration puts them into its ID tokens
    refreshTokens: true,
    ...toolsClient(issuerUrl, `${DEFAULT_SCOPE} ${OFFLINE_ACCESS}`, toolsClientId),
    environment: {
      OAUTH2_PROXY_PROVIDER: 'entra-id',
      OAUTH2_PROXY_OIDC_ISSUER_URL: issuerUrl,
      OAUTH2_PROXY_SCOPE: [
        DEFAULT_SCOPE,
        ...allowedGroups || needsGroups ? ['User.Read'] : [], // if a person's groups do not fit into an ID token, oauth2-proxy reads them from Microsoft Graph, which requires this scope
        ...sessionRefresh ? [OFFLINE_ACCESS] : [],
      ].join(' '),
      ...(emailClaim && { OAUTH2_PROXY_OIDC_EMAIL_CLAIM: emailClaim }),
      ...(allowedGroups && { OAUTH2_PROXY_ALLOWED_GROUPS: allowList(allowedGroups) }),
    },
  });
}
