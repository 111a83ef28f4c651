import type { Secret } from 'aws-cdk-lib/aws-ecs';
import { Configure, DEFAULT_SCOPE, firstMisspelt, requireId } from './rules';
import { DOMAIN } from '../checks/problems';

/** Options of `AuthProvider.google`. */
export interface GoogleAuthProviderOptions {
  /** Client id from the Google Cloud console, `….apps.googleusercontent.com`. */
  readonly clientId: string;

  /** Client secret: `ecs.Secret.fromSecretsManager(…)`, or `ecs.Secret.fromSsmParameter(…)` for a SecureString. */
  readonly clientSecret: Secret;

  /**
   * Domains of your company's Google Workspace or Cloud Identity. An account must belong to one of them (the claim `hd` of its ID tokens).
   *
   * People can also create their own Google accounts with an address of your company. Google verifies the address once, and people who leave keep the account.
   * `['*']` allows such accounts. The rule also applies to ID tokens of `TokenIssuer.gcloud()`, but not to machines.
   *
   * @default - `emailDomains`; where that is `['*']`, every Google account
   * @see https://developers.google.com/identity/openid-connect/openid-connect#id_token-hd
   */
  readonly hostedDomains?: string[];
}

export function google(options: GoogleAuthProviderOptions): Configure {
  const { clientId, clientSecret, hostedDomains } = options;
  requireId('AuthProvider.google: `clientId`', clientId);
  if (hostedDomains?.length === 0) {
    throw new Error('AuthProvider.google: `hostedDomains` must contain at least one domain, got []: leave it out for `emailDomains`, or use ["*"] for every Google account');
  }
  const misspelt = everyAccount(hostedDomains) ? undefined : firstMisspelt(DOMAIN, hostedDomains);
  if (misspelt !== undefined) {
    throw new Error(`AuthProvider.google: \`hostedDomains\` must contain domains in lower case such as "example.com", or "*" alone, got ${JSON.stringify(misspelt)}: use the domains of your Google Workspace`);
  }
  return ({ emailDomains }) => {
    const domains = hostedDomains ?? emailDomains;
    const openToPublic = everyAccount(domains);
    return {
      clientId,
      clientSecret,
      openToPublic,
      groups: false,
      refreshTokens: false, // Google issues them only for a parameter that oauth2-proxy does not send
      ...(!openToPublic && { hostedDomains: domains }),
      environment: {
        // oauth2-proxy's Google provider does not check a nonce and does not accept bearer tokens; its OpenID Connect provider does both.
        OAUTH2_PROXY_PROVIDER: 'oidc',
        OAUTH2_PROXY_OIDC_ISSUER_URL: 'https://accounts.google.com',
        OAUTH2_PROXY_SCOPE: DEFAULT_SCOPE,
      },
    };
  };
}

function everyAccount(hostedDomains?: string[]): boolean {
  return hostedDomains?.length === 1 && hostedDomains[0] === '*';
}
