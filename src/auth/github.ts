import { Token } from 'aws-cdk-lib';
import type { Secret } from 'aws-cdk-lib/aws-ecs';
import { Configure, firstMisspelt, openTo, requireId, requireList, requireOrigin } from './rules';
import { known } from '../checks/problems';
import { allowList } from '../settings/allow-list';

/** Options of `AuthProvider.github`. */
export interface GithubAuthProviderOptions {
  /** Client id of the OAuth app. */
  readonly clientId: string;

  /** Client secret: `ecs.Secret.fromSecretsManager(…)`, or `ecs.Secret.fromSsmParameter(…)` for a SecureString. */
  readonly clientSecret: Secret;

  /**
   * Organization whose members may sign in, spelled as GitHub shows it, case-sensitive. They must also have an address in `emailDomains`.
   *
   * @default - no restriction by organization
   */
  readonly organization?: string;

  /**
   * Teams whose members may sign in. A person must be in one of them. Use the slug of a team with `organization`, or `organization:slug` without.
   *
   * @default - no restriction by team
   */
  readonly teams?: string[];

  /**
   * URL of a GitHub Enterprise Server, such as `https://github.example.com`.
   *
   * @default - github.com
   */
  readonly enterpriseUrl?: string;
}

export function github(options: GithubAuthProviderOptions): Configure {
  const { clientId, clientSecret, organization, teams, enterpriseUrl } = options;
  requireId('AuthProvider.github: `clientId`', clientId);
  if (organization !== undefined && Token.isUnresolved(organization)) {
    throw new Error('AuthProvider.github: `organization` must be known at synthesis, got a CDK token, which could be empty and then admit every account of GitHub: write the name, or use `teams`');
  }
  if (known(organization) && !/^[\w-]+$/.test(organization)) {
    throw new Error(`AuthProvider.github: \`organization\` must be the name of one organization, got ${JSON.stringify(organization)}: use the name in its address on GitHub`);
  }
  requireList('AuthProvider.github: `teams`', teams);
  const misspelt = firstMisspelt(organization === undefined ? /^[\w-]+:[\w.-]+$/ : /^[\w.-]+$/, teams);
  if (misspelt !== undefined) {
    throw new Error(`AuthProvider.github: \`teams\` must contain ${organization === undefined ? '"organization:slug" where `organization` is left out' : 'the slugs of teams where `organization` is given'}, got ${JSON.stringify(misspelt)}: use the name in the team's address on GitHub`);
  }
  requireOrigin('AuthProvider.github: `enterpriseUrl`', enterpriseUrl, 'https://github.example.com');
  return () => ({
    clientId,
    clientSecret,
    groups: true, // organizations and teams, with the scope below
    refreshTokens: false, // GitHub issues none to OAuth apps
    ...openTo(enterpriseUrl === undefined ? true : undefined, organization === undefined ? undefined : [organization], teams),
    environment: {
      OAUTH2_PROXY_PROVIDER: 'github',
      OAUTH2_PROXY_SCOPE: 'user:email read:org', // organizations are read at every sign-in
      ...(organization && { OAUTH2_PROXY_GITHUB_ORG: organization }),
      ...(teams && { OAUTH2_PROXY_GITHUB_TEAM: allowList(teams) }), // a list, although the name is singular
      ...(enterpriseUrl && {
        OAUTH2_PROXY_LOGIN_URL: `${enterpriseUrl}/login/oauth/authorize`,
        OAUTH2_PROXY_REDEEM_URL: `${enterpriseUrl}/login/oauth/access_token`,
        OAUTH2_PROXY_VALIDATE_URL: `${enterpriseUrl}/api/v3`,
      }),
    },
  });
}
