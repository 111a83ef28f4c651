import type { Secret } from 'aws-cdk-lib/aws-ecs';
import { Configure, firstMisspelt, openTo, requireId, requireList, requireOrigin } from './rules';
import { allowList } from '../settings/allow-list';

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

const GITLAB_COM = 'https://gitlab.com';

export function gitlab(options: GitlabAuthProviderOptions): Configure {
  const { clientId, clientSecret, baseUrl = GITLAB_COM, allowedGroups, allowedProjects } = options;
  requireId('AuthProvider.gitlab: `clientId`', clientId);
  requireOrigin('AuthProvider.gitlab: `baseUrl`', baseUrl, 'https://gitlab.example.com');
  requireList('AuthProvider.gitlab: `allowedGroups`', allowedGroups);
  requireList('AuthProvider.gitlab: `allowedProjects`', allowedProjects);
  const misspelt = firstMisspelt(/^[^\s=/]+(\/[^\s=/]+)+(=(10|20|30|40))?$/, allowedProjects);
  if (misspelt !== undefined) {
    throw new Error(`AuthProvider.gitlab: \`allowedProjects\` must hold full paths, each with "=" and one of the levels 10, 20, 30 and 40 if need be, such as "ml/models=30", got ${JSON.stringify(misspelt)}: use the path in the project's address on GitLab`);
  }
  return () => ({
    clientId,
    clientSecret,
    bearerTokens: false,
    refreshTokens: true,
    groups: true, // from /oauth/userinfo, for the scope `openid`
    ...openTo(baseUrl === GITLAB_COM ? true : undefined, allowedGroups, allowedProjects),
    environment: {
      OAUTH2_PROXY_PROVIDER: 'gitlab',
      OAUTH2_PROXY_OIDC_ISSUER_URL: baseUrl,
      OAUTH2_PROXY_SCOPE: allowedProjects ? 'openid email read_api' : 'openid email',
      // Not ALLOWED_GROUPS, which this provider of oauth2-proxy overwrites with these.
      ...(allowedGroups && { OAUTH2_PROXY_GITLAB_GROUPS: allowList(allowedGroups) }),
      ...(allowedProjects && { OAUTH2_PROXY_GITLAB_PROJECTS: allowList(allowedProjects) }),
    },
  });
}
