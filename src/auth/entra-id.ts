import type { Secret } from 'aws-cdk-lib/aws-ecs';
import { Configure, DEFAULT_SCOPE, escapedUrl, OFFLINE_ACCESS, requireId, requireList } from './rules';
import { checkToolsClient, toolsClient, ToolsClientOptions } from './tools';
import { known } from '../checks/problems';
import { allowList } from '../settings/allow-list';

/** The tenant and OAuth client of `AuthProvider.entraId`. */
export interface EntraIdAuthProviderOptions extends ToolsClientOptions {
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

/** https://learn.microsoft.com/entra/identity-platform/id-token-claims-reference */
const PERSONAL_ACCOUNTS = '9188040d-6c67-4c5b-b112-36a304b66dad';

export function entraId(options: EntraIdAuthProviderOptions): Configure {
  const { tenantId, clientId, clientSecret, emailClaim, allowedGroups, toolsClientId } = options;
  // A domain name would do for signing in, but the tokens and the discovery document hold the id.
  if (known(tenantId) && (!/^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/.test(tenantId) || tenantId === PERSONAL_ACCOUNTS)) {
    throw new Error(`AuthProvider.entraId: \`tenantId\` must be the id of one tenant, a GUID in lower case, got ${JSON.stringify(tenantId)}: use the directory (tenant) id of the app registration; "common", "organizations", "consumers" and the tenant of personal accounts would let in the whole world, and for a domain name the proxy does not start`);
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
    groups: true, // if the app registration puts them into its tokens
    refreshTokens: true,
    ...toolsClient(issuerUrl, `${DEFAULT_SCOPE} ${OFFLINE_ACCESS}`, toolsClientId),
    environment: {
      OAUTH2_PROXY_PROVIDER: 'entra-id',
      OAUTH2_PROXY_OIDC_ISSUER_URL: issuerUrl,
      OAUTH2_PROXY_SCOPE: [
        DEFAULT_SCOPE,
        ...allowedGroups || needsGroups ? ['User.Read'] : [], // who is in more groups than fit into a token is looked up in Microsoft Graph, which wants it
        ...sessionRefresh ? [OFFLINE_ACCESS] : [],
      ].join(' '),
      ...(emailClaim && { OAUTH2_PROXY_OIDC_EMAIL_CLAIM: emailClaim }),
      ...(allowedGroups && { OAUTH2_PROXY_ALLOWED_GROUPS: allowList(allowedGroups) }),
    },
  });
}
