/**
 * Somebody, beside the sign-in provider, whose identity tokens are accepted as `Authorization: Bearer`.
 *
 * A token is accepted when the issuer signed it for the audience, it has not expired, and its verified e-mail address
 * lies in `emailDomains`. There is no way to name an arbitrary issuer, and that is on purpose: oauth2-proxy takes the
 * subject of a token that holds no address for the address, so an issuer whose subjects strangers can choose (a public
 * CI system, where a branch may be called `x@example.com`) would let anybody in.
 */
export class TokenIssuer {
  /**
   * Tokens of `gcloud auth print-identity-token`, for people who have the Google Cloud command line.
   *
   * Anybody with a Google account can have such a token made, so what decides is `emailDomains` alone.
   * The audience is the public client id of the command line itself.
   */
  public static gcloud(): TokenIssuer {
    return new TokenIssuer('https://accounts.google.com', '32555940559.apps.googleusercontent.com', true);
  }

  private constructor(
    /** The `iss` claim of the tokens; their keys are found from it by OpenID Connect discovery. */
    public readonly issuerUrl: string,
    /** The `aud` claim of the tokens. */
    public readonly audience: string,
    /** Whether anybody in the world can have such a token. If so, `emailDomains: ['*']` brings a warning. */
    public readonly openToPublic: boolean,
  ) {}
}
