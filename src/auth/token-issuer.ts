import { isOpenIssuer, refusePublicIssuer } from './public-issuers';
import { known } from '../checks/problems';

/** The issuer and audience of `TokenIssuer.oidc`. */
export interface OidcTokenIssuerOptions {
  /** The issuer, as it stands in the `iss` claim, final slash included where there is one. The tasks must be able to reach it. */
  readonly issuerUrl: string;

  /** What the `aud` claim must hold. It should stand for this server and nothing else. oauth2-proxy takes the `extraAudiences` of the sign-in provider as well. */
  readonly audience: string;
}

/**
 * Somebody, beside the sign-in provider, whose identity tokens are accepted as `Authorization: Bearer`.
 *
 * A token is accepted when the issuer signed it for the audience, it has not expired, and either its e-mail address, not marked as unverified,
 * lies in `emailDomains` or its subject is one of `machineIdentities`.
 *
 * Warning: if a token holds no address, oauth2-proxy compares its subject with `emailDomains`. An issuer whose subjects strangers can choose
 * (a public CI system, where a branch may be called `x@example.com`) must not be trusted. The known ones are refused. The server refuses subjects
 * with a colon, which those of CI systems have.
 */
export class TokenIssuer {
  /**
   * Tokens of `gcloud auth print-identity-token`, for people who have the Google Cloud command line.
   *
   * Anybody with a Google account can have such a token made: `emailDomains` decides, and with `AuthProvider.google` its `hostedDomains`. Another
   * provider cannot tell accounts of the company from those that people have made by themselves on its addresses, so synthesis warns there.
   * The audience is the public client id of the command line itself.
   *
   * @example
   *
   * const trustedTokenIssuers = [TokenIssuer.gcloud()];
   */
  public static gcloud(): TokenIssuer {
    return new TokenIssuer('https://accounts.google.com', '32555940559.apps.googleusercontent.com');
  }

  /**
   * An OpenID Connect issuer that puts a verified e-mail address into its tokens, or whose exact subjects are in `machineIdentities`.
   *
   * Only name one whose subjects nobody outside your company can choose.
   *
   * Fails if `issuerUrl` is no https URL or the issuer of a public CI system, or if the audience is empty or holds a comma.
   *
   * @example
   *
   * const trustedTokenIssuers = [TokenIssuer.oidc({ issuerUrl: 'https://id.example.com', audience: 'https://mlflow.example.com' })];
   */
  public static oidc(options: OidcTokenIssuerOptions): TokenIssuer {
    const { issuerUrl, audience } = options;
    if (known(issuerUrl) && !/^https:\/\/[^\s,=?#]+$/.test(issuerUrl)) {
      throw new Error(`TokenIssuer.oidc: \`issuerUrl\` must be an https URL without query, got ${JSON.stringify(issuerUrl)}: use the issuer as it stands in the \`iss\` claim`);
    }
    refusePublicIssuer('TokenIssuer.oidc: `issuerUrl`', issuerUrl);
    if (known(audience) && (audience.trim() === '' || audience.includes(','))) {
      throw new Error(`TokenIssuer.oidc: \`audience\` must not be empty nor hold a comma, got ${JSON.stringify(audience)}: use a value that stands for this server alone, such as its URL`);
    }
    return new TokenIssuer(issuerUrl, audience);
  }

  /** Whether anybody in the world can have such a token. If so, `emailDomains: ['*']` brings a warning. */
  public readonly openToPublic: boolean;

  private constructor(
    /** The `iss` claim of the tokens; their keys are found from it by OpenID Connect discovery. */
    public readonly issuerUrl: string,
    /** The `aud` claim of the tokens. */
    public readonly audience: string,
  ) {
    this.openToPublic = isOpenIssuer(issuerUrl);
  }
}
