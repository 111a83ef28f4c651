import type { Secret } from 'aws-cdk-lib/aws-ecs';
import { Configure, firstMisspelt, openTo, requireId, requireList, requireOrigin } from './rules';
import { allowList } from '../settings/allow-list';

/** Options of `AuthProvider.gitlab`. */
export interface GitlabAuthProviderOptions {
  /** Id of the application that you registered at GitLab. */
  readonly clientId: string;

  /** Secret of the application: `ecs.Secret.fromSecretsManager(…)`, or `ecs.Secret.fromSsmParameter(…)` for a SecureString. */
  readonly clientSecret: Secret;

  /**
   * URL of your own GitLab, which must be at the root of its host, such as `https://gitlab.example.com`.
   *
   * @default 'https://gitlab.com'
   */
  readonly baseUrl?: string;

  /**
   * Full paths of groups whose members may sign in. A person must be in one of the groups or projects and also have an address in `emailDomains`.
   *
   * @default - no restriction by group
   */
  readonly allowedGroups?: string[];

  /**
   * Full paths of projects whose members may sign in, from reporter upwards. Write `path=30` for another minimum
   * [access level](https://docs.gitlab.com/api/members/#roles): 10, 20, 30 or 40. A person must be in one of the groups or projects and also have an address
   * in `emailDomains`.
   *
   * @default - no restriction by project
   */
  readonly allowedProjects?: string[];
}

const GITLAB_COM = 'https://gitlab.com';

export function gitlab(options: GitlabAuthProviderOptions): Configure {
  const { clientId, clientSecret, baseUrl = GITLAB_COM, allowedGroups, allowedProjects } = options;
  requireId('AuthProvider.gitlab: `clientId`', clientId);
  requireOrigin('AuthProvider.gitlab: `baseUrl`', baseUrl, 'https://gitlab.example.com');
  requireList('AuthProvider.gitlab: `allowedGroups`', allowedGroups);
  requireList('AuthProvider.gitlab: `allowedProjects`', allowedProjects);
  const misspelt = firstMisspelt(/^[^\s=/]+(\/[^\s=/]+)+(=(10|20|30|40))?$/, allowedProjects);
  if (misspelt !== undefined) {
    throw new Error(`AuthProvider.gitlab: \`allowedProjects\` must contain full paths, optionally with "=" and one of the levels 10, 20, 30 and 40, such as "ml/models=30", got ${JSON.stringify(misspelt)}: use the path in the project's address on GitLab`);
  }
  return () => ({
    clientId,
    clientSecret,
    bearerTokens: false,
    refreshTokens: true,
    groups: true, // from /oauth/userinfo, with the scope `openid`
    ...openTo(baseUrl === GITLAB_COM ? true : undefined, allowedGroups, allowedProjects),
    environment: {
      OAUTH2_PROXY_PROVIDER: 'gitlab',
      OAUTH2_PROXY_OIDC_ISSUER_URL: baseUrl,
      OAUTH2_PROXY_SCOPE: allowedProjects ? 'openid email read_api' : 'openid email',
      // Not ALLOWED_GROUPS, which oauth2-proxy overwrites with these settings for this provider.
      ...(allowedGroups && { OAUTH2_PROXY_GITLAB_GROUPS: allowList(allowedGroups) }),
      ...(allowedProjects && { OAUTH2_PROXY_GITLAB_PROJECTS: allowList(allowedProjects) }),
    },
  });
}
