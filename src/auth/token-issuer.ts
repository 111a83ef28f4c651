import { isOpenIssuer, refusePublicIssuer } from './public-issuers';
import { known } from '../checks/problems';

/** Options of `TokenIssuer.oidc`. */
export interface OidcTokenIssuerOptions {
  /** The issuer, exactly as in the `iss` claim, including a trailing slash if there is one. The tasks must be able to reach it. */
  readonly issuerUrl: string;

  /** The required value of the `aud` claim. Use a value for this server only. oauth2-proxy also accepts the `extraAudiences`
   * and the `toolsClientId` of the sign-in provider. */
  readonly audience: string;
}

/**
 * An issuer, in addition to the sign-in provider, whose signed tokens are accepted as bearer tokens (`Authorization: Bearer`).
 *
 * A bearer token is accepted if the issuer signed it for the audience and it has not expired. In addition, its e-mail address must be in one of the
 * `emailDomains` and not be marked as unverified, or its subject must be one of the `machineIdentities`.
 *
 * Warning: if a bearer token contains no address, oauth2-proxy compares its subject with `emailDomains`. Do not trust an issuer whose subjects strangers can
 * choose, such as a public CI system, where a branch may be called `x@example.com`. Known issuers of this kind are refused at synthesis. The server rejects
 * subjects with a colon, which subjects of CI systems contain.
 */
export class TokenIssuer {
  /**
   * ID tokens of `gcloud auth print-identity-token`, for people who use the Google Cloud command line.
   *
   * Anyone with a Google account can get such an ID token. `emailDomains` decides who gets in, and with `AuthProvider.google` also `hostedDomains`. With another
   * provider, accounts of your Workspace cannot be told from accounts that people created themselves with an address of your company, so synthesis warns.
   * The audience is the public client id of the command line.
   *
   * @example
   *
   * const trustedTokenIssuers = [TokenIssuer.gcloud()];
   */
  public static gcloud(): TokenIssuer {
    return new TokenIssuer('https://accounts.google.com', '32555940559.apps.googleusercontent.com');
  }

  /**
   * An OpenID Connect issuer whose tokens contain a verified e-mail address, or have exact subjects that you list in `machineIdentities`.
   *
   * Use only an issuer whose subjects cannot be chosen by people outside your company.
   *
   * Fails if `issuerUrl` is not an https URL, or is the issuer of a public CI system, or if the audience is empty or contains a comma.
   *
   * @example
   *
   * const trustedTokenIssuers = [TokenIssuer.oidc({ issuerUrl: 'https://id.example.com', audience: 'https://mlflow.example.com' })];
   */
  public static oidc(options: OidcTokenIssuerOptions): TokenIssuer {
    const { issuerUrl, audience } = options;
    if (known(issuerUrl) && !/^https:\/\/[^\s,=?#]+$/.test(issuerUrl)) {
      throw new Error(`TokenIssuer.oidc: \`issuerUrl\` must be an https URL without query, got ${JSON.stringify(issuerUrl)}: use the value of the \`iss\` claim`);
    }
    refusePublicIssuer('TokenIssuer.oidc: `issuerUrl`', issuerUrl);
    if (known(audience) && (audience.trim() === '' || audience.includes(','))) {
      throw new Error(`TokenIssuer.oidc: \`audience\` must not be empty or contain a comma, got ${JSON.stringify(audience)}: use a value for this server only, such as its URL`);
    }
    return new TokenIssuer(issuerUrl, audience);
  }

  /** Whether anyone in the world can get a token of this issuer. If so, synthesis warns about `emailDomains: ['*']`. */
  public readonly openToPublic: boolean;

  private constructor(
    /** The `iss` claim of the tokens. oauth2-proxy finds the keys of the issuer from it with OpenID Connect discovery. */
    public readonly issuerUrl: string,
    /** The `aud` claim of the tokens. */
    public readonly audience: string,
  ) {
    this.openToPublic = isOpenIssuer(issuerUrl);
  }
}
